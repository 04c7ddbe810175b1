"""The strict reading of access tokens (RFC 8725, RFC 9068), and when their claims are valid."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from ._json import Malformed, decoded, integer, members, string, text
from .errors import Unauthenticated, Unavailable
from .keys import Key

MAX_BYTES = 8 * 1024
MAX_LIFE = 3600
# The most by which the clock of whoever issued a token may be ahead.
MAX_AHEAD = 60
_TYPES = ("at+jwt", "application/at+jwt")
_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


@dataclass(frozen=True)
class Principal:
    """The user and session of a valid access token. Moments are in seconds since 1970."""

    user_id: str
    session_id: str
    token_id: str
    roles: tuple[str, ...]
    audience: tuple[str, ...]
    username: str | None
    issued_at: int
    expires_at: int
    # What revocations are compared with; not known of a token that the service was asked about.
    epoch: int = 0
    opened_at: int = 0
    starts_at: int = 0

    def has_role(self, role: str) -> bool:
        """True if the user had the role when the token was issued."""
        return role in self.roles


def malformed() -> Unauthenticated:
    return Unauthenticated("TOKEN_MALFORMED")


def open_token(token: str, issuer: str, keys: dict[str, Key | None]) -> Principal:
    """Reads a token that one of the keys signed. The time decides nothing here."""
    try:
        return _open(token, issuer, keys)
    except Malformed as error:
        raise malformed() from error


def _open(token: str, issuer: str, keys: dict[str, Key | None]) -> Principal:
    if not token.isascii() or len(token) > MAX_BYTES or token.count(".") != 2:
        raise Malformed("no token")
    head, claims, sealed = token.split(".")
    header = members(text(head))
    if header.keys() != {"alg", "kid", "typ"}:
        raise Malformed("another header")
    alg, kid, typ = (string(header[name]) for name in ("alg", "kid", "typ"))
    if typ.lower() not in _TYPES:
        raise Malformed("another type")
    signature = decoded(sealed)
    key = keys.get(kid)
    if key is None and kid in keys:
        raise Unavailable("KEY_UNUSABLE")
    # Byte for byte, so that no spelling of `none` is one of ours.
    if key is None or alg != key.algorithm or not key.verifies(f"{head}.{claims}".encode(), signature):
        raise Unauthenticated("TOKEN_SIGNATURE_INVALID")
    return _principal(members(text(claims)), issuer)


def _date(claims: dict[str, Any], name: str) -> int:
    return integer(claims.get(name), 0, 1 << 53)


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise Malformed("no list")
    return tuple(string(item) for item in value)


def is_id(text: str) -> bool:
    """True for the one spelling of an id."""
    return _ID.fullmatch(text) is not None


def _id(value: Any) -> str:
    found = string(value)
    if not is_id(found):
        raise Malformed("no id")
    return found


def _principal(claims: dict[str, Any], issuer: str) -> Principal:
    expires_at, issued_at = _date(claims, "exp"), _date(claims, "iat")
    starts_at = max(_date(claims, "nbf"), issued_at) if "nbf" in claims else issued_at
    if not issued_at <= expires_at <= issued_at + MAX_LIFE or string(claims.get("iss")) != issuer:
        raise Malformed("another life, or issuer")
    token_id, client_id = string(claims.get("jti")), string(claims.get("client_id"))
    if not token_id or not client_id:
        raise Malformed("no name")
    audience = claims.get("aud")
    username = claims.get("preferred_username")
    return Principal(
        user_id=_id(claims.get("sub")),
        session_id=_id(claims.get("sid")),
        token_id=token_id,
        roles=_texts(claims.get("roles")),
        audience=(string(audience),) if isinstance(audience, str) else _texts(audience),
        username=None if username is None else string(username),
        issued_at=issued_at,
        expires_at=expires_at,
        epoch=integer(claims.get("epoch"), -(1 << 63), (1 << 63) - 1),
        opened_at=_date(claims, "auth_time"),
        starts_at=starts_at,
    )


def check(principal: Principal, audience: str | None, leeway: float, now: float) -> None:
    """Checks what depends on the time, and on what is asked for."""
    seconds = int(now)
    if principal.starts_at > seconds + MAX_AHEAD:
        raise malformed()
    if seconds >= principal.expires_at + int(leeway):
        raise Unauthenticated("TOKEN_EXPIRED")
    if audience is not None and audience not in principal.audience:
        raise Unauthenticated("TOKEN_AUDIENCE_MISMATCH")
