"""The index of what has ended. It is a union of all that was heard: nothing is taken back."""

from __future__ import annotations

import math
from typing import NamedTuple

from .clock import Moment
from .errors import Unauthenticated
from .tokens import MAX_LIFE, Principal

# No token that a revocation matches is accepted by any clock after so many seconds.
RETENTION = MAX_LIFE + 2 * 3600
# Times of entries are rounded up to so many seconds, so that many entries share them.
_STEP = 16


class _Life(NamedTuple):
    """The end of an entry, and when it was added since boot."""

    until: int
    added: int


class Index:
    """Ended sessions, and of users the least epoch that lives on. One thread tells it, any may check."""

    def __init__(self) -> None:
        self.sessions: dict[str, _Life] = {}
        self.users: dict[str, tuple[int, _Life]] = {}
        self.opened_before = 0
        self.forgotten_until = 0
        self._lives: dict[_Life, _Life] = {}

    def end_session(self, session: str, until: float, at: Moment) -> None:
        self.sessions[session] = self._life(self.sessions.get(session), until, at)

    def end_user(self, user: str, least: int, until: float, at: Moment) -> None:
        known, before = self.users.get(user, (least, None))
        self.users[user] = (max(known, least), self._life(before, until, at))

    def end_opened_before(self, moment: int) -> None:
        self.opened_before = max(self.opened_before, moment)

    def _life(self, before: _Life | None, until: float, at: Moment) -> _Life:
        found = _Life(_rounded(until), _rounded(at.boot))
        if before is not None and before.until > found.until:
            found = _Life(before.until, found.added)
        return self._lives.setdefault(found, found)

    def check(self, principal: Principal) -> None:
        """Passes if no token of the principal is dead."""
        user = self.users.get(principal.user_id)
        if (
            principal.session_id in self.sessions
            or (user is not None and principal.epoch < user[0])
            or principal.opened_at < self.opened_before
        ):
            raise Unauthenticated("TOKEN_REVOKED")
        # What could be known of it has been forgotten: a clock was set back.
        if principal.expires_at < self.forgotten_until and principal.issued_at < self.forgotten_until - MAX_LIFE:
            raise Unauthenticated("TOKEN_EXPIRED")

    def forget_expired(self, at: Moment) -> None:
        """Forgets what has ended by both clocks."""
        over = {life for life in self._lives if life.until <= at.wall and at.boot - life.added >= RETENTION}
        if not over:
            return
        self.forgotten_until = max(self.forgotten_until, *(life.until for life in over))
        for session in [session for session, life in self.sessions.items() if life in over]:
            del self.sessions[session]
        for user in [user for user, (_, life) in self.users.items() if life in over]:
            del self.users[user]
        for life in over:
            del self._lives[life]


def _rounded(seconds: float) -> int:
    return math.ceil(seconds / _STEP) * _STEP
