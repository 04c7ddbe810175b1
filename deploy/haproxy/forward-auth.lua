-- Asks Countersign whether a request may pass, and says whose it is. Anything but an answer of Countersign is 503.
local url = os.getenv("FORWARD_AUTH")

local identity = { "user-id", "session-id", "roles", "audience", "username" }
-- What a client gets to see of a denial.
local shown = { "content-type", "cache-control", "www-authenticate", "retry-after", "set-cookie", "location" }
-- Whatever the client's Accept-Encoding, Connection or Content-Length says is between it and us.
local asked = { "authorization", "cookie", "sec-fetch-mode", "origin", "user-agent" }

local function deny(txn, status, headers, body)
    local reply = txn:reply({ status = status, body = body })
    for _, name in ipairs(shown) do
        for _, value in pairs(headers and headers[name] or {}) do
            reply:add_header(name, value)
        end
    end
    txn:done(reply)
end

core.register_action("forward-auth", { "http-req" }, function(txn)
    local client = txn.http:req_get_headers()
    local headers = {
        ["x-original-method"] = { txn.f:method() },
        ["x-original-uri"] = { txn.f:pathq() },
        ["x-original-host"] = { client["host"] and client["host"][0] or "" },
        ["x-forwarded-for"] = { txn.f:src() },
    }
    for _, name in ipairs(asked) do
        if client[name] then
            headers[name] = {}
            for _, value in pairs(client[name]) do
                table.insert(headers[name], value)
            end
        end
    end

    -- One object for each request: it is not for several. HAProxy asks four times before it gives up.
    local answer = core.httpclient():get({ url = url, headers = headers, timeout = 1500 })
    local status = answer and answer.status or 0
    if status == 200 then
        for _, name in ipairs(identity) do
            local value = answer.headers["x-auth-" .. name]
            txn.http:req_set_header("x-auth-" .. name, value and value[0] or "")
        end
        local cookie = answer.headers["set-cookie"]
        if cookie then
            txn:set_var("txn.auth_cookie", cookie[0])
        end
        txn:set_var("txn.auth_passed", true)
    elseif status == 401 and answer.headers["location"] then
        -- A browser's navigation goes to the login page.
        deny(txn, 302, answer.headers, "")
    elseif status == 401 or status == 403 or status == 429 then
        deny(txn, status, answer.headers, answer.body)
    else
        deny(txn, 503, answer and answer.headers, "")
    end
end)
