"""The index of what has ended. It is a union of all that was heard: nothing is taken back."""

from __future__ import annotations

from .clock import Moment
from .errors import Unauthenticated
from .tokens import MAX_LIFE, Principal

# No token that a revocation matches is accepted by any clock after so many seconds.
RETENTION = MAX_LIFE + 2 * 3600


class Index:
    """Ended sessions, and of users the least epoch that lives on. Each with its end, and when it was added since boot."""

    def __init__(self) -> None:
        self.sessions: dict[str, tuple[float, float]] = {}
        self.users: dict[str, tuple[int, float, float]] = {}
        self.opened_before = 0
        self.forgotten_until = 0.0

    def end_session(self, session: str, until: float, at: Moment) -> None:
        before, _ = self.sessions.get(session, (0.0, 0.0))
        self.sessions[session] = (max(before, until), at.boot)

    def end_user(self, user: str, least: int, until: float, at: Moment) -> None:
        known, before, _ = self.users.get(user, (least, 0.0, 0.0))
        self.users[user] = (max(known, least), max(before, until), at.boot)

    def end_opened_before(self, moment: int) -> None:
        self.opened_before = max(self.opened_before, moment)

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

        def is_over(until: float, added: float) -> bool:
            over = until <= at.wall and at.boot - added >= RETENTION
            if over:
                self.forgotten_until = max(self.forgotten_until, until)
            return over

        for session, (until, added) in list(self.sessions.items()):
            if is_over(until, added):
                del self.sessions[session]
        for user, (_, until, added) in list(self.users.items()):
            if is_over(until, added):
                del self.users[user]
