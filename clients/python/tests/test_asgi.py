"""The middleware over sockets."""

import asyncio
import http.client
import socket
import threading

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from helpers import until_true

from countersign import Demand
from countersign.asgi import Middleware


async def whose(request):
    return PlainTextResponse(getattr(request.state, "principal", None) and request.state.principal.user_id or "nobody")


async def talk(socket):
    await socket.accept()
    await socket.send_text(socket.state.principal.user_id)
    await socket.close()


@pytest.fixture(scope="module")
def serve():
    """Starts an application in a thread; its port."""
    running = []

    def start(app):
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", ws="websockets-sansio", lifespan="on"))
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        running.append((server, thread, listener))
        until_true("it serves", lambda: server.started, 10)
        return listener.getsockname()[1]

    yield start
    for server, thread, listener in running:
        server.should_exit = True
        thread.join(10)
        listener.close()


def guarded(verifier):
    routes = [Route(path, whose) for path in ("/", "/health", "/admin")] + [WebSocketRoute("/talk", talk)]
    app = Starlette(routes=routes)
    return Middleware(app, verifier, public=["/health"], demands={"/admin": Demand(roles=("admin",))})


def get(port, path, *authorizations):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.putrequest("GET", path)
    for value in authorizations:
        connection.putheader("Authorization", value)
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    return answer, body


def refused(port, path, *authorizations):
    answer, body = get(port, path, *authorizations)
    assert body == ""
    return answer.status, answer.headers["www-authenticate"], answer.headers["countersign-reason"]


def test_requests(dev, alice, verifier_of, serve):
    port = serve(guarded(verifier_of(dev)))
    tokens = alice.login()
    bearer = f"Bearer {tokens.access_token}"
    missing = (401, "Bearer", "TOKEN_MISSING")
    for values in ((), (bearer, bearer), ("Bearer",), ("Bearer ",), ("Basic abc",), ("Bearerabc",)):
        assert refused(port, "/", *values) == missing, values
    for value in (bearer, f"bEARER  {tokens.access_token} "):
        answer, body = get(port, "/", value)
        assert (answer.status, body) == (200, alice.id)
    assert get(port, "/health")[1] == "nobody"
    assert get(port, "/health", bearer)[1] == "nobody"
    invalid = 'Bearer error="invalid_token", error_description="TOKEN_MALFORMED"'
    assert refused(port, "/", "Bearer abc") == (401, invalid, "TOKEN_MALFORMED")
    lacks = 'Bearer error="insufficient_scope", error_description="ROLE_MISSING"'
    assert refused(port, "/admin", bearer) == (403, lacks, "ROLE_MISSING")
    dev.client.call("Revoke", refresh_token=tokens.refresh_token)
    until_true("it is refused", lambda: get(port, "/", bearer)[0].headers["countersign-reason"] == "TOKEN_REVOKED", 3)


def test_an_outage(relay, alice, verifier_of, serve):
    with relay.cut():
        port = serve(guarded(verifier_of(relay, ready=False)))
        answer, _ = get(port, "/", f"Bearer {alice.login().access_token}")
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        assert answer.headers["www-authenticate"] is None and answer.headers["countersign-reason"]


def test_websockets(dev, alice, verifier_of, serve):
    port = serve(guarded(verifier_of(dev)))
    at = f"ws://127.0.0.1:{port}/talk"
    with connect(at, additional_headers={"Authorization": f"Bearer {alice.login().access_token}"}) as talk:
        assert talk.recv(10) == alice.id
    with pytest.raises(InvalidStatus) as refused, connect(at):
        pass
    response = refused.value.response
    assert (response.status_code, response.headers["countersign-reason"]) == (401, "TOKEN_MISSING")


def test_websockets_of_servers_that_cannot_answer(dev, verifier_of):
    sent = []

    async def receive():
        return {"type": "websocket.connect"}

    async def send(message):
        sent.append(message)

    scope = {"type": "websocket", "path": "/talk", "headers": []}
    asyncio.run(guarded(verifier_of(dev))(scope, receive, send))
    assert sent == [{"type": "websocket.close", "code": 1008, "reason": "TOKEN_MISSING"}]


class Broken:
    """A verifier with a defect."""

    async def averify(self, token, demand):
        raise TypeError("a defect")

    verify = averify


def test_a_defect_lets_nobody_in(serve):
    port = serve(guarded(Broken()))
    answer, _ = get(port, "/", "Bearer abc")
    assert answer.status == 500


def test_other_spellings_of_a_path_are_not_public(dev, verifier_of, serve):
    port = serve(guarded(verifier_of(dev)))
    assert get(port, "/health?x=/admin")[0].status == get(port, "/%68ealth")[0].status == 200
    for path in (
        "/health/",
        "//health",
        "/HEALTH",
        "/health/..",
        "/./health",
        "/health;x",
        "/health%00",
        "/admin/../health",
        "/health%2f",
    ):
        assert get(port, path)[0].status == 401, path


def test_what_is_no_request_is_not_let_through(dev, verifier_of):
    with pytest.raises(RuntimeError):
        asyncio.run(guarded(verifier_of(dev))({"type": "other", "path": "/health"}, None, None))
