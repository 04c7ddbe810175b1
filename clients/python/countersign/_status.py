"""A refusal as a status of gRPC, as the service's own are."""

from __future__ import annotations

import grpc

from .errors import CountersignError, Forbidden, Unauthenticated

_ERROR_INFO = b"type.googleapis.com/google.rpc.ErrorInfo"


def _field(number: int, value: bytes) -> bytes:
    """Writes a field of bytes."""
    size, length = len(value), b""
    while size > 127:
        length += bytes([size & 127 | 128])
        size >>= 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + value


def refusal(error: CountersignError) -> tuple[grpc.StatusCode, str, tuple[tuple[str, str | bytes], ...]]:
    """Gives code, message and trailers: the reason, and google.rpc.Status with google.rpc.ErrorInfo."""
    if isinstance(error, Unauthenticated):
        code, message = grpc.StatusCode.UNAUTHENTICATED, "access token not accepted"
    elif isinstance(error, Forbidden):
        code, message = grpc.StatusCode.PERMISSION_DENIED, "not allowed"
    else:
        code, message = grpc.StatusCode.UNAVAILABLE, "authentication is not available"
    info = _field(1, error.reason.encode()) + _field(2, b"countersign")
    details = _field(1, _ERROR_INFO) + _field(2, info)
    status = bytes([8, code.value[0]]) + _field(2, message.encode()) + _field(3, details)
    return code, message, (("countersign-reason", error.reason), ("grpc-status-details-bin", status))
