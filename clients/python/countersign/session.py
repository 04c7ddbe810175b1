"""A session that stays alive: its access token is exchanged before it expires."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable
from typing import Any

from . import clock
from ._json import Malformed, text
from ._proto import auth_pb2 as pb
from ._waits import in_this_thread
from .client import Countersign
from .errors import Unavailable

# The part of an access token's life after which it is exchanged.
_FRESH_FOR = 0.7
# The life of an access token that does not say it.
_SHORT = 60.0
# The time for which a token that is about to expire is still sent.
_MARGIN = 2.0
# The time from an exchange that failed to the next one, while the token is good.
_PAUSE = 1.0


class _Tokens:
    """A pair of tokens, and until when by this machine's clock it is good."""

    def __init__(self, pair: pb.TokenPair, life: float) -> None:
        now = clock.now().boot
        self.pair = pair
        self.refresh_at, self.expires_at = now + life * _FRESH_FOR, now + life

    def is_new(self) -> bool:
        return clock.now().boot < min(self.refresh_at, self.expires_at)


class Session:
    """A session. Threads and tasks share it: one thread exchanges the tokens for all threads, and one task for all of its loop.

    A thread and a task that do so at once are given the same tokens: the service answers an exchange that comes twice alike.
    """

    def __init__(self, client: Countersign, tokens: pb.TokenPair) -> None:
        """Goes on with a pair of tokens from elsewhere."""
        whole, left = _life(tokens) or (0.0, 0.0)
        self._client, self._tokens = client, _Tokens(tokens, min(whole, left))
        # Held by the thread that exchanges the tokens.
        self._turn = threading.Lock()
        # The task that does, of each loop.
        self._tasks: dict[asyncio.AbstractEventLoop, asyncio.Task[str]] = {}

    @classmethod
    def login(cls, client: Countersign, **fields: Any) -> Session:
        """Opens a session with a password."""
        return cls._opened(client, client.login(**fields))

    @classmethod
    async def alogin(cls, client: Countersign, **fields: Any) -> Session:
        """Opens a session as `login` does."""
        return cls._opened(client, await client.alogin(**fields))

    @classmethod
    def _opened(cls, client: Countersign, answer: Any) -> Session:
        session = cls(client, pb.TokenPair())
        session._tokens = _issued(answer)
        return session

    @property
    def tokens(self) -> pb.TokenPair:
        """The tokens as they are, to be kept elsewhere."""
        kept = pb.TokenPair()
        kept.CopyFrom(self._tokens.pair)
        return kept

    def access_token(self) -> str:
        """Gives the access token, which is exchanged before it expires.

        It raises Unauthenticated when the session has ended: log in again. It raises Unavailable when the token has expired
        and the service cannot be reached: nothing is lost, ask again.
        """
        if self._tokens.is_new():
            return self._tokens.pair.access_token
        with self._turn:
            if self._tokens.is_new():
                return self._tokens.pair.access_token
            return in_this_thread(self._exchange(_in_thread(self._client)))

    async def aaccess_token(self) -> str:
        """Gives the access token as `access_token` does. A task that is cancelled while it waits ends no exchange."""
        if self._tokens.is_new():
            return self._tokens.pair.access_token
        loop = asyncio.get_running_loop()
        task = self._tasks.get(loop)
        if task is None or task.done():
            task = self._tasks[loop] = loop.create_task(self._exchange(self._client.arefresh))
            task.add_done_callback(self._note_end)
        return await asyncio.shield(task)

    def _note_end(self, task: asyncio.Task[str]) -> None:
        self._tasks.pop(task.get_loop(), None)
        # Whoever asked may not wait for it any more.
        if not task.cancelled():
            task.exception()

    async def _exchange(self, refresh: Callable[..., Awaitable[Any]]) -> str:
        """Exchanges the tokens, with the same refresh token again if an answer was lost."""
        tokens = self._tokens
        try:
            issued = _issued(await refresh(refresh_token=tokens.pair.refresh_token))
            # Another who was quicker has got the same, or gone on from there.
            if self._tokens is tokens:
                self._tokens = issued
        except Unavailable:
            # It is good for a while, and so may the service be. Those who ask meanwhile do not all wait for it.
            now = clock.now().boot
            if now + _MARGIN >= tokens.expires_at:
                raise
            tokens.refresh_at = now + _PAUSE
        return self._tokens.pair.access_token

    def logout(self) -> pb.RevokeResponse:
        """Ends the session everywhere."""
        with self._turn:
            return self._client.revoke(refresh_token=self._tokens.pair.refresh_token)

    async def alogout(self) -> pb.RevokeResponse:
        """Ends the session everywhere."""
        return await self._client.arevoke(refresh_token=self._tokens.pair.refresh_token)

    def __repr__(self) -> str:
        return "Session(..)"


def _in_thread(client: Countersign) -> Callable[..., Awaitable[Any]]:
    async def refresh(**fields: Any) -> Any:
        return client.refresh(**fields)

    return refresh


def _issued(answer: Any) -> _Tokens:
    """Keeps tokens that have just been issued. Their life is what they say of it, whatever this machine's clock says."""
    if not answer.HasField("tokens"):
        raise Unavailable("NO_TOKENS")
    whole, _ = _life(answer.tokens) or (_SHORT, 0)
    return _Tokens(answer.tokens, whole)


def _life(pair: pb.TokenPair) -> tuple[float, float] | None:
    """Gives the whole life of an access token, and what is left of it by this machine's clock."""
    try:
        claims = json.loads(text(pair.access_token.split(".")[1]))
        issued, expires = int(claims["iat"]), int(claims["exp"])
    except (Malformed, ValueError, KeyError, IndexError, TypeError):
        return None
    return max(expires - issued, 0), max(expires - clock.now().wall, 0)
