"""The middleware for FastAPI, Starlette, and all other applications of ASGI."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ._bearer import bearer, challenge
from .errors import CountersignError, Forbidden, Unauthenticated
from .knowledge import Demand
from .tokens import Principal
from .verifier import Verifier

_POLICY_VIOLATION = 1008


class Middleware:
    """Lets in requests with a valid token; its user is `request.state.principal`.

    Requests without one get 401, those that lack a role 403, and when nothing can be said 503. `public` are paths that are open
    to all. `demand` is for all other paths, and `demands` for paths that have their own. Paths are compared as a whole.
    """

    def __init__(
        self,
        app: Any,
        verifier: Verifier,
        public: Iterable[str] = (),
        demands: Mapping[str, Demand] | None = None,
        demand: Demand | None = None,
    ) -> None:
        if isinstance(public, str):
            raise TypeError("public is a collection of paths")
        self._app, self._verifier, self._demand = app, verifier, demand
        self._public, self._demands = frozenset(public), dict(demands or {})

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        kind = scope["type"]
        if kind == "lifespan":
            await self._app(scope, receive, send)
            return
        if kind not in ("http", "websocket"):
            raise RuntimeError(f"nothing is known of {kind}")
        if scope["path"] not in self._public:
            try:
                principal = await self._principal(scope)
            except CountersignError as error:
                await _refuse(error, scope, receive, send)
                return
            # A copy, so that no server can share it between requests.
            scope = {**scope, "state": {**(scope.get("state") or {}), "principal": principal}}
        await self._app(scope, receive, send)

    async def _principal(self, scope: Any) -> Principal:
        token = bearer([value for name, value in scope["headers"] if name.lower() == b"authorization"])
        return await self._verifier.averify(token, self._demands.get(scope["path"], self._demand))


async def _refuse(error: CountersignError, scope: Any, receive: Any, send: Any) -> None:
    status = 503
    if isinstance(error, Unauthenticated):
        status = 401
    elif isinstance(error, Forbidden):
        status = 403
    headers = [("content-length", "0"), ("countersign-reason", error.reason)]
    said = challenge(error)
    if said is not None:
        headers.append(("www-authenticate", said))
    if status == 503:
        headers.append(("retry-after", "1"))
    prefix = "http"
    if scope["type"] == "websocket":
        await receive()
        if "websocket.http.response" not in (scope.get("extensions") or {}):
            await send({"type": "websocket.close", "code": _POLICY_VIOLATION, "reason": error.reason})
            return
        prefix = "websocket.http"
    raw = [(name.encode(), value.encode()) for name, value in headers]
    await send({"type": f"{prefix}.response.start", "status": status, "headers": raw})
    await send({"type": f"{prefix}.response.body", "body": b""})
