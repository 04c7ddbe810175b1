"""The strict reading of JSON: one meaning for each text, as the service reads it."""

from __future__ import annotations

import base64
import json
from typing import Any


class Malformed(ValueError):
    """The text is not what it should be."""


class _Pairs:
    """The members of an object, in order. It is no list, so that no object is taken for one."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        self.pairs = pairs


def _whole(text: str) -> int | float:
    # Others read a minus before zero as a fraction. More digits than these are no number that a claim may have.
    return -0.0 if text == "-0" or len(text) > 40 else int(text)


def _no_constant(text: str) -> Any:
    raise Malformed(text)


def members(text: str) -> dict[str, Any]:
    """Reads an object whose own members have different names."""
    try:
        pairs = json.loads(text, object_pairs_hook=_Pairs, parse_int=_whole, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise Malformed("no JSON") from error
    if not isinstance(pairs, _Pairs):
        raise Malformed("no object")
    found = {string(name): value for name, value in pairs.pairs}
    if len(found) != len(pairs.pairs):
        raise Malformed("a name comes twice")
    return found


def decoded(segment: str) -> bytes:
    """Reads base64url without padding, in its one spelling."""
    try:
        found = base64.b64decode(segment + "=" * (-len(segment) % 4), altchars=b"-_", validate=True)
    except ValueError as error:
        raise Malformed("no base64url") from error
    if base64.urlsafe_b64encode(found).rstrip(b"=").decode() != segment:
        raise Malformed("another spelling")
    return found


def text(segment: str) -> str:
    """Reads base64url of UTF-8."""
    try:
        return decoded(segment).decode("utf-8")
    except UnicodeDecodeError as error:
        raise Malformed("no UTF-8") from error


def string(value: Any) -> str:
    """Passes a text that can be written as UTF-8."""
    if not isinstance(value, str):
        raise Malformed("no text")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise Malformed("half a character") from error
    return value


def integer(value: Any, least: int, most: int) -> int:
    """Passes a whole number in a range."""
    if type(value) is not int or not least <= value <= most:
        raise Malformed("no such number")
    return value
