"""Waiting, in a thread or in a task: what waits is written once, as a coroutine, and runs either way."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple, TypeVar

from ._channels import Connection

_A = TypeVar("_A")


class Waits(NamedTuple):
    """The ways to pause, and to make a call."""

    pause: Callable[[float], Coroutine[Any, Any, None]]
    call: Callable[..., Coroutine[Any, Any, Any]]


async def _sleep(seconds: float) -> None:
    time.sleep(seconds)


async def _call(connection: Connection, *call: Any) -> Any:
    return connection.call(*call)


async def _acall(connection: Connection, *call: Any) -> Any:
    return await connection.acall(*call)


THREAD = Waits(_sleep, _call)
TASK = Waits(asyncio.sleep, _acall)


def in_this_thread(story: Coroutine[Any, Any, _A]) -> _A:
    """Runs a coroutine whose waits are those of a thread: it never gives way."""
    try:
        story.send(None)
    except StopIteration as done:
        answer: _A = done.value
        return answer
    finally:
        story.close()
    raise AssertionError("it waits for a loop")
