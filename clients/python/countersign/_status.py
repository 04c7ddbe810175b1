"""A refusal as a status of gRPC, as the service's own are."""

from __future__ import annotations

import grpc

from ._details import TRAILER, written
from .errors import CountersignError, Forbidden, Unauthenticated


def refusal(error: CountersignError) -> tuple[grpc.StatusCode, str, tuple[tuple[str, str | bytes], ...]]:
    """Gives code, message and trailers: the reason, and google.rpc.Status with google.rpc.ErrorInfo."""
    if isinstance(error, Unauthenticated):
        code, message = grpc.StatusCode.UNAUTHENTICATED, "access token not accepted"
    elif isinstance(error, Forbidden):
        code, message = grpc.StatusCode.PERMISSION_DENIED, "not allowed"
    else:
        code, message = grpc.StatusCode.UNAVAILABLE, "authentication is not available"
    details = written(code.value[0], message, error.reason)
    return code, message, (("countersign-reason", error.reason), (TRAILER, details))
