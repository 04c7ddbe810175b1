"""The token of a request, and what a refusal says."""

from __future__ import annotations

from collections.abc import Sequence

from .errors import CountersignError, Forbidden, Unauthenticated

TOKEN_MISSING = "TOKEN_MISSING"


def bearer(values: Sequence[str | bytes]) -> str:
    """Gives the token of the one header that there may be (RFC 6750 section 2.1)."""
    if len(values) == 1:
        value = values[0]
        text = value.decode("latin-1") if isinstance(value, bytes) else value
        scheme, _, token = text.partition(" ")
        token = token.strip(" \t")
        if scheme.lower() == "bearer" and token and token.isascii() and token.isprintable():
            return token
    raise Unauthenticated(TOKEN_MISSING)


def challenge(error: CountersignError) -> str | None:
    """Gives what WWW-Authenticate says."""
    if isinstance(error, Unauthenticated):
        if error.reason == TOKEN_MISSING:
            return "Bearer"
        return f'Bearer error="invalid_token", error_description="{error.reason}"'
    if isinstance(error, Forbidden):
        return f'Bearer error="insufficient_scope", error_description="{error.reason}"'
    return None
