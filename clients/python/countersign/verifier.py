"""Verifies access tokens in this process."""

from __future__ import annotations

import asyncio
import math
import time
import weakref
from collections.abc import Iterable
from typing import Any

import grpc

from . import clock
from ._channels import connections
from ._follow import Event, Follower, Hook, tell
from ._proto import auth_pb2 as pb
from ._waits import TASK, THREAD, Waits, in_this_thread
from .errors import CountersignError, Unauthenticated, Unavailable, of_status
from .knowledge import Demand, Knowledge
from .tokens import Principal

# The time that the service has to answer about a token.
ASKED_WITHIN = 2.0
_SECRET = "SIGNING_KEY_SECRET"
_ANY = Demand()


class Verifier:
    """Verifies access tokens in this process. It follows one replica after the other, on threads of its own.

    `endpoints` are URLs such as `http://auth-1:50051`. No token is accepted that was revoked more than `max_staleness` seconds
    ago. With `fallback="ask"` the service is asked about tokens when too little is known here. `credentials` are those of
    grpc.ssl_channel_credentials. `on_event` is told what happens, for metrics; it must not wait.
    """

    def __init__(
        self,
        endpoints: str | Iterable[str],
        *,
        audience: str | None = None,
        issuer: str | None = None,
        max_staleness: float = 10.0,
        leeway: float = 0,
        remembered: int = 10_000,
        fallback: str = "refuse",
        credentials: grpc.ChannelCredentials | None = None,
        service_token: str | None = None,
        on_event: Hook | None = None,
    ) -> None:
        if fallback not in ("refuse", "ask"):
            raise ValueError("fallback is 'refuse' or 'ask'")
        if audience == "" or issuer == "":
            raise ValueError("an audience or issuer that is empty is none")
        for name, value in (("max_staleness", max_staleness), ("leeway", leeway), ("remembered", remembered)):
            if not 0 <= value < math.inf:
                raise ValueError(f"{name} is no number of 0 or more")
        self._audience, self._asks, self._hook = audience, fallback == "ask", on_event
        self._knowledge = Knowledge(max_staleness, leeway, remembered, issuer)
        self._connections = connections(endpoints, credentials, service_token)
        self._follower = Follower(self._knowledge, self._connections, on_event)
        # The threads do not keep this alive.
        self._end = weakref.finalize(self, self._follower.close)

    def close(self) -> None:
        """Follows no more, and accepts no more."""
        self._end()

    def __enter__(self) -> Verifier:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def is_fresh(self) -> bool:
        """True if tokens can be verified at this moment, without asking the service."""
        return not self._follower.closed.is_set() and self._knowledge.is_fresh(clock.now())

    def _is_ready(self) -> bool:
        if self._asks or self.is_fresh:
            return True
        lack = self._knowledge.lack
        if lack is not None and (lack.reason == _SECRET or self._knowledge.poisoned):
            raise lack
        if self._follower.closed.is_set():
            raise Unavailable("CLOSED")
        return False

    def _late(self) -> CountersignError:
        return self._knowledge.outage()

    def ready(self, timeout: float | None = None) -> None:
        """Waits until tokens can be verified; with `fallback="ask"` that is at once. It raises Unavailable at the timeout,
        and for a service that signs by HS256: that one publishes no keys."""
        with self._follower.changed:
            if not self._follower.changed.wait_for(self._is_ready, timeout):
                raise self._late()

    async def aready(self, timeout: float | None = None) -> None:
        """Waits as `ready` does."""
        until = None if timeout is None else time.monotonic() + timeout
        while not self._is_ready():
            if until is not None and time.monotonic() >= until:
                raise self._late()
            await asyncio.sleep(0.01)

    def verify(self, token: str, demand: Demand | None = None) -> Principal:
        """Verifies a token, and that it meets a demand. It raises Unauthenticated, Forbidden, or Unavailable."""
        demand = demand or _ANY
        try:
            principal = self._in_memory(token, demand)
            if principal is None:
                principal = in_this_thread(self._ask(THREAD, token, demand))
            demand.check(principal)
        except CountersignError as error:
            tell(self._hook, Event("refused", error.reason))
            raise
        tell(self._hook, Event("accepted"))
        return principal

    async def averify(self, token: str, demand: Demand | None = None) -> Principal:
        """Verifies as `verify` does. Only asking the service waits."""
        demand = demand or _ANY
        try:
            principal = self._in_memory(token, demand)
            if principal is None:
                principal = await self._ask(TASK, token, demand)
            demand.check(principal)
        except CountersignError as error:
            tell(self._hook, Event("refused", error.reason))
            raise
        tell(self._hook, Event("accepted"))
        return principal

    def _in_memory(self, token: str, demand: Demand) -> Principal | None:
        """Verifies by what is known here; None if the service is to be asked."""
        try:
            if self._follower.closed.is_set():
                raise Unavailable("CLOSED")
            return self._knowledge.verify(token, demand.audience or self._audience, clock.now())
        except Unavailable:
            if not self._asks:
                raise
            tell(self._hook, Event("asked"))
            return None

    async def _ask(self, waits: Waits, token: str, demand: Demand) -> Principal:
        """Asks one replica after the other."""
        try:
            request = pb.VerifyRequest(access_token=token, audience=demand.audience or self._audience or "")
        except ValueError as error:
            raise Unauthenticated("TOKEN_MALFORMED") from error
        until, share = time.monotonic() + ASKED_WITHIN, ASKED_WITHIN / len(self._connections)
        last: CountersignError = Unavailable("REVOCATIONS_STALE")
        for connection in self._connections:
            try:
                left = min(until - time.monotonic(), share)
                answer = await waits.call(connection, "Verify", request, pb.VerifyResponse, max(left, 0.001))
                if answer.HasField("principal"):
                    return _principal(answer.principal)
            except grpc.RpcError as status:
                said = of_status(status)
                # What is not about the token befell this service's own call.
                if isinstance(said, Unauthenticated) and said.reason.startswith("TOKEN_"):
                    raise said from None
                last = Unavailable(said.reason)
            except Unavailable as closed:
                last = closed
        raise last


def _principal(said: Any) -> Principal:
    return Principal(
        user_id=said.user_id,
        session_id=said.session_id,
        token_id=said.token_id,
        roles=tuple(said.roles),
        audience=tuple(said.audience),
        username=said.username or None,
        issued_at=said.issued_at.seconds,
        expires_at=said.expires_at.seconds,
    )
