"""What a verifier knows: keys, revocations, and as of when. It does no I/O; messages and moments are parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from . import keys as keys_, tokens
from ._json import Malformed
from ._memory import ENTRY, Memory
from .clock import ClockAhead, Moment
from .errors import CountersignError, Forbidden, Unauthenticated, Unavailable
from .revocations import RETENTION, Index
from .tokens import Principal

_STALE = "REVOCATIONS_STALE"
# Seconds by which the two clocks of this machine may run apart during a stream: more is a step, or a machine that was paused.
APART = 1.0
# Bytes of the tokens that are refused, about. Anybody can send these.
_REFUSED = 4 * 1024 * 1024


@dataclass(frozen=True)
class Demand:
    """What a request needs beside a valid token. Scopes of Countersign's tokens are the roles."""

    audience: str | None = None
    roles: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if isinstance(self.roles, str):
            raise TypeError("roles is a collection of names")

    def check(self, principal: Principal) -> None:
        """Passes if the user has all roles."""
        if not all(map(principal.has_role, self.roles)):
            raise Forbidden("ROLE_MISSING")


class Stream:
    """What one call of WatchRevocations has said."""

    def __init__(self, began: Moment) -> None:
        self.began, self.has_keys, self.ahead = began, False, ClockAhead()


class _Keyed:
    """An issuer, its keys, and what these have said of tokens: that goes with the keys, because one may be new, or killed."""

    def __init__(self, issuer: str, jwks: str, remembered: int) -> None:
        self.issuer, self.jwks, self.keys = issuer, jwks, keys_.read(jwks)
        # Tokens of the usual length all have room.
        self.verified: Memory[Principal] = Memory(remembered, max(remembered, 16) * 2 * ENTRY)
        # Those that are refused for good, by the reason, and those that have expired or are revoked.
        self.refused: Memory[Principal | str] = Memory(_REFUSED // ENTRY, _REFUSED)

    def principal(self, token: str) -> Principal:
        """Gives whom a token names. One that was seen before costs no signature."""
        principal = self.verified.get(token)
        if principal is not None:
            return principal
        known = self.refused.get(token)
        if known is None:
            try:
                known = tokens.open_token(token, self.issuer, self.keys)
                self.verified.set(token, known)
            except Unauthenticated as error:
                if len(token) <= tokens.MAX_BYTES:
                    self.refused.set(token, error.reason)
                raise
        if isinstance(known, str):
            raise Unauthenticated(known)
        return known

    def note_dead(self, token: str, principal: Principal) -> None:
        """Takes a token out of those that are accepted: it has expired, or is revoked."""
        self.verified.drop(token)
        self.refused.set(token, principal)


class Knowledge:
    """Keys and revocations. Any thread may verify; one thread tells it what is heard."""

    def __init__(self, max_staleness: float, leeway: float, remembered: int, issuer: str | None = None) -> None:
        self.max_staleness, self.leeway, self.remembered = max_staleness, leeway, remembered
        self.expected_issuer = issuer
        self.position = ""
        self.poisoned = False
        # The reason for which nothing is known; None as soon as something is.
        self.lack: CountersignError | None = Unavailable(_STALE)
        self._index = Index()
        self._keyed: _Keyed | None = None
        self._as_of: Moment | None = None
        self._issuer_ahead = 0.0

    def hear(self, stream: Stream, message: Any, at: Moment) -> None:
        """Takes in a message. It raises when the stream has to be given up."""
        if self.poisoned:
            raise Unavailable("UNKNOWN_REVOCATION")
        # Moments are counted from when the call began: by clocks that have run apart since then they mean nothing.
        if abs((at.wall - stream.began.wall) - (at.boot - stream.began.boot)) > APART:
            raise Unavailable("CLOCK_STEPPED")
        event = message.WhichOneof("event")
        if event == "keys":
            self._use_keys(message.keys)
            stream.has_keys = True
        elif event in ("snapshot", "additions"):
            part = getattr(message, event)
            self._apply(part.revocations, at)
            self.position = part.position or self.position
        elif event == "heartbeat" and stream.has_keys:
            beat = message.heartbeat
            if beat.HasField("sent_at"):
                self._issuer_ahead = stream.ahead.hear(beat.sent_at.seconds + beat.sent_at.nanos / 1e9, at)
            as_of = stream.began.later_by(beat.complete_as_of.seconds + beat.complete_as_of.nanos / 1e9)
            # Not later than now, whatever the service's clock does.
            self._publish(at if as_of.boot > at.boot else as_of)

    def _use_keys(self, said: Any) -> None:
        if self.expected_issuer not in (None, said.issuer):
            raise Unavailable("ISSUER_MISMATCH")
        known = self._keyed
        if known is not None and (known.issuer, known.jwks) == (said.issuer, said.jwks):
            return
        try:
            self._keyed = _Keyed(said.issuer, said.jwks, self.remembered)
        except Malformed as error:
            raise Unavailable("KEYS_UNREADABLE") from error

    def _apply(self, revocations: Any, at: Moment) -> None:
        for said in revocations:
            subject = said.WhichOneof("subject")
            until = said.expires_at.seconds + 1 if said.HasField("expires_at") else at.wall + RETENTION
            if subject == "session_id" and tokens.is_id(said.session_id):
                self._index.end_session(said.session_id, until, at)
            elif subject == "user" and tokens.is_id(said.user.user_id):
                self._index.end_user(said.user.user_id, said.user.least_epoch, until, at)
            elif subject == "opened_before" and said.opened_before.seconds >= 0:
                self._index.end_opened_before(said.opened_before.seconds)
            else:
                # The contract: no token is accepted until a version runs that knows what was meant.
                self.poisoned, self._as_of = True, None
                self.lack = Unavailable("UNKNOWN_REVOCATION", "update this client")
                raise self.outage()

    def _publish(self, as_of: Moment) -> None:
        # Another replica may know less: what is known is never forgotten.
        if self._as_of is None or as_of.boot > self._as_of.boot:
            self._as_of = as_of
        self.lack = None

    def is_fresh(self, at: Moment) -> bool:
        """True if tokens can be verified."""
        as_of = self._as_of
        return self._keyed is not None and as_of is not None and at.since(as_of) <= self.max_staleness

    def outage(self) -> Unavailable:
        """Makes an error of what is lacking. A new one each time: whoever raises one hangs its frames on it."""
        return Unavailable(self.lack.reason if self.lack else _STALE)

    def as_of(self) -> Moment | None:
        """Gives the moment as of which everything is known."""
        return self._as_of

    def verify(self, token: str, audience: str | None, at: Moment) -> Principal:
        """Verifies a token. Freshness comes first: then keys and revocations are no older."""
        if not self.is_fresh(at):
            raise self.outage()
        if not isinstance(token, str):
            raise tokens.malformed()
        keyed = self._keyed
        assert keyed is not None
        principal = keyed.principal(token)
        try:
            tokens.check(principal, audience, self.leeway, at.wall + self._issuer_ahead)
            self._index.check(principal)
        except Unauthenticated as error:
            if error.reason in ("TOKEN_EXPIRED", "TOKEN_REVOKED"):
                keyed.note_dead(token, principal)
            raise
        return principal

    def forget_expired(self, at: Moment) -> None:
        """Forgets what no token can match any more, and the tokens that are dead."""
        self._index.forget_expired(at)
        keyed = self._keyed
        if keyed is not None:
            keyed.verified.retain(lambda principal: self._lives(principal, at))

    def _lives(self, principal: Principal, at: Moment) -> bool:
        try:
            tokens.check(principal, None, self.leeway, at.wall + self._issuer_ahead)
            self._index.check(principal)
        except Unauthenticated:
            return False
        return True
