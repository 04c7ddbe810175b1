"""What tests ask again and again."""

import time

from countersign import CountersignError, Unauthenticated, Unavailable


def reason_of(verify, *arguments):
    """The reason of a refusal; None if there is none."""
    try:
        verify(*arguments)
    except CountersignError as error:
        assert isinstance(error, Unauthenticated) == error.reason.startswith("TOKEN_"), error
        return error.reason
    return None


def outage_of(verify, *arguments):
    """The reason of an outage; None if there is none."""
    try:
        verify(*arguments)
    except Unavailable as error:
        return error.reason
    return None


def until_true(what, condition, seconds):
    """Asks until the answer is true; how long that took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, f"not within {seconds} s: {what}"
        time.sleep(0.002)
    return time.monotonic() - began
