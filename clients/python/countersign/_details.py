"""google.rpc.Status with google.rpc.ErrorInfo, in the encoding of Protocol Buffers: the details of an error."""

from __future__ import annotations

from collections.abc import Iterator

TRAILER = "grpc-status-details-bin"
_ERROR_INFO = b"type.googleapis.com/google.rpc.ErrorInfo"
_DOMAIN = b"countersign"


def written(code: int, message: str, reason: str) -> bytes:
    """Writes details that have a reason."""
    info = _field(1, reason.encode()) + _field(2, _DOMAIN)
    return bytes([8, code]) + _field(2, message.encode()) + _field(3, _field(1, _ERROR_INFO) + _field(2, info))


def reason_in(details: bytes) -> str | None:
    """Reads the reason that is ours; None if there is none, or the details cannot be read."""
    try:
        for number, item in _fields(details):
            parts = dict(_fields(item)) if number == 3 else {}
            info = dict(_fields(parts.get(2, b""))) if parts.get(1) == _ERROR_INFO else {}
            if info.get(2) == _DOMAIN:
                return info[1].decode()
    except (IndexError, KeyError, ValueError):
        pass
    return None


def _field(number: int, value: bytes) -> bytes:
    """Writes a field of bytes."""
    size, length = len(value), b""
    while size > 127:
        length += bytes([size & 127 | 128])
        size >>= 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + value


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Reads the fields of bytes, and passes over numbers."""
    at = 0

    def number() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at, value, shift = at + 1, value | (byte & 127) << shift, shift + 7
            if byte < 128:
                return value
            if shift > 63:
                raise ValueError("too long a number")

    while at < len(message):
        tag = number()
        kind = tag & 7
        if kind == 0:
            number()
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
        elif kind == 2:
            size = number()
            if at + size > len(message):
                raise ValueError("cut short")
            yield tag >> 3, message[at : at + size]
            at += size
        else:
            raise ValueError("no such field")
