"""Errors. Each has the reason by the name that the service gives it."""

from __future__ import annotations

import re

import grpc

from ._details import TRAILER, reason_in

UNREACHABLE = "UNREACHABLE"
_REASON = re.compile(r"[A-Z][A-Z0-9_]{0,63}")


class CountersignError(Exception):
    """Something was not done, for a reason such as `TOKEN_EXPIRED`."""

    def __init__(self, reason: str, message: str = "") -> None:
        super().__init__(f"{message or self.__doc__}: {reason}")
        self.reason = reason


class Unauthenticated(CountersignError):
    """The token is missing, not valid, or dead"""


class Forbidden(CountersignError):
    """The user lacks a role, or the caller may not make this call"""


class Unavailable(CountersignError):
    """Nothing can be said now, try again"""


class Refused(CountersignError):
    """The call was refused"""

    def __init__(self, reason: str, code: grpc.StatusCode, message: str) -> None:
        super().__init__(reason, message)
        self.code = code


def reason_of(error: grpc.RpcError) -> str | None:
    """Gives the reason that the service gave: of its trailer, or of the details, where that trailer did not come. Or None."""
    trailers = dict(error.trailing_metadata() or ())
    said, details = trailers.get("countersign-reason"), trailers.get(TRAILER)
    if not said and isinstance(details, bytes):
        said = reason_in(details)
    # It is written into headers of HTTP.
    return said if isinstance(said, str) and _REASON.fullmatch(said) else None


def of_status(error: grpc.RpcError) -> CountersignError:
    """Makes an error of a status. One without a reason of ours says nothing of a token."""
    code, reason = error.code(), reason_of(error)
    status = grpc.StatusCode
    if code == status.UNAUTHENTICATED and reason:
        return Unauthenticated(reason)
    if code == status.PERMISSION_DENIED and reason:
        return Forbidden(reason)
    outages = (status.UNAVAILABLE, status.DEADLINE_EXCEEDED, status.RESOURCE_EXHAUSTED, status.CANCELLED)
    unexplained = (status.UNAUTHENTICATED, status.PERMISSION_DENIED, status.UNKNOWN, status.INTERNAL)
    if code in outages or (code in unexplained and not reason):
        return Unavailable(reason or UNREACHABLE)
    return Refused(reason or code.name, code, error.details() or "")
