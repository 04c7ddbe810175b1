"""Time: two clocks of this machine, and what is known of the service's."""

from __future__ import annotations

import time
from collections import deque
from typing import NamedTuple

# A step of this machine's wall clock, in seconds that its other clock did not count.
_STEP = 0.5
_BOOT = getattr(time, "CLOCK_BOOTTIME", None)


class Moment(NamedTuple):
    """A moment by both clocks of this machine: seconds since boot, suspend included, and since 1970."""

    boot: float
    wall: float

    def later_by(self, seconds: float) -> Moment:
        """Gives the moment so much later."""
        return Moment(self.boot + seconds, self.wall + seconds)

    def since(self, earlier: Moment) -> float:
        """Gives the larger of what has passed by either clock: each of them may stand still, or be set."""
        return max(self.boot - earlier.boot, self.wall - earlier.wall, 0.0)


def now() -> Moment:
    """Reads both clocks."""
    boot = time.monotonic() if _BOOT is None else time.clock_gettime(_BOOT)
    return Moment(boot, time.time())


class ClockAhead:
    """How far the service's wall clock is ahead of this machine's, by the heartbeats of a stream."""

    def __init__(self) -> None:
        self._samples: deque[float] = deque(maxlen=8)
        self._last: Moment | None = None

    def hear(self, sent_at: float, at: Moment) -> float:
        """Takes in the service's time in a heartbeat. One that was late says too little, so the largest counts."""
        if self._last is not None:
            stepped = (at.wall - self._last.wall) - (at.boot - self._last.boot)
            if abs(stepped) > _STEP:
                self._samples.clear()
        self._last = at
        self._samples.append(sent_at - at.wall)
        return max(self._samples)
