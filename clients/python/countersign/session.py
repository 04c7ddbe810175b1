"""A session that stays alive: its access token is exchanged before it expires."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

from . import clock
from ._json import Malformed, text
from ._proto import auth_pb2 as pb
from .client import Countersign
from .errors import Unavailable

# The part of an access token's life after which it is exchanged.
_FRESH_FOR = 0.7
# The life of an access token that does not say it.
_SHORT = 60.0
# The time for which a token that is about to expire is still sent.
_MARGIN = 2.0


class _Tokens:
    """A pair of tokens, and until when by this machine's clock it is good."""

    def __init__(self, pair: pb.TokenPair, life: float) -> None:
        now = clock.now().boot
        self.pair = pair
        self.refresh_at, self.expires_at = now + life * _FRESH_FOR, now + life

    def is_new(self) -> bool:
        return clock.now().boot < self.refresh_at


class Session:
    """A session. Threads and tasks share it; one of them exchanges the tokens for all."""

    def __init__(self, client: Countersign, tokens: pb.TokenPair) -> None:
        """Goes on with a pair of tokens from elsewhere."""
        whole, left = _life(tokens) or (0.0, 0.0)
        self._client, self._tokens = client, _Tokens(tokens, min(whole, left))
        # Held by whoever exchanges the tokens.
        self._turn = threading.Lock()

    @classmethod
    def login(cls, client: Countersign, **fields: Any) -> Session:
        """Opens a session with a password."""
        session = cls(client, pb.TokenPair())
        session._tokens = _issued(client.login(**fields))
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
            tokens = self._tokens
            if tokens.is_new():
                return tokens.pair.access_token
            try:
                self._tokens = _issued(self._client.refresh(refresh_token=tokens.pair.refresh_token))
            except Unavailable:
                # It is good for a while, and so may the service be.
                if clock.now().boot + _MARGIN >= tokens.expires_at:
                    raise
            return self._tokens.pair.access_token

    async def aaccess_token(self) -> str:
        """Gives the access token. Only an exchange takes a thread."""
        if self._tokens.is_new():
            return self._tokens.pair.access_token
        return await asyncio.to_thread(self.access_token)

    def logout(self) -> pb.RevokeResponse:
        """Ends the session everywhere."""
        with self._turn:
            return self._client.revoke(refresh_token=self._tokens.pair.refresh_token)

    def __repr__(self) -> str:
        return "Session(..)"


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
