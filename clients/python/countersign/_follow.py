"""The follower: hears from one replica at a time, and goes to another when that one is silent."""

from __future__ import annotations

import logging
import os
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc

from . import clock
from ._channels import Connection
from .errors import CountersignError, Unavailable, of_status
from .knowledge import Knowledge, Stream

LOG = logging.getLogger("countersign")
# The longest time without a word from a replica: it heartbeats each second.
SILENCE = 3.0
# Pauses, once all replicas were tried in vain. Many clients do not come back at one moment.
LEAST_PAUSE, LONGEST_PAUSE = 0.05, 1.0
CLEAN_EACH = 60.0


@dataclass(frozen=True)
class Event:
    """Something that happened: `accepted`, `refused`, `asked` the service, or `lost` a replica."""

    kind: str
    reason: str | None = None
    endpoint: str | None = None


Hook = Callable[[Event], None]


def tell(hook: Hook | None, event: Event) -> None:
    """Tells a hook, whose faults are its own."""
    if hook is not None:
        try:
            hook(event)
        except Exception:
            LOG.exception("on_event failed")


def _tell_always(hook: Hook | None, event: Event) -> None:
    """Tells a hook in a thread that nothing may end."""
    try:
        tell(hook, event)
    except BaseException:
        LOG.exception("on_event failed")


class Follower:
    """Two threads: one hears, the other ends calls that are silent."""

    def __init__(self, knowledge: Knowledge, connections: tuple[Connection, ...], hook: Hook | None) -> None:
        self.knowledge, self.connections, self.hook = knowledge, connections, hook
        self.changed = threading.Condition()
        self.closed = threading.Event()
        self._process = os.getpid()
        self._call: Any = None
        self._silent = False
        self._patience = time.monotonic() + SILENCE
        for work in (self._run, self._watch_silence):
            threading.Thread(target=work, name="countersign", daemon=True).start()

    def close(self) -> None:
        """Stops. A process that was forked has none of this, and its connections are its parent's."""
        if os.getpid() != self._process:
            return
        self.closed.set()
        call = self._call
        if call is not None:
            call.cancel()
        with self.changed:
            self.changed.notify_all()
        for connection in self.connections:
            connection.close()

    def _run(self) -> None:
        count = len(self.connections)
        place, failed, pause = random.randrange(count), 0, LEAST_PAUSE
        while not self.knowledge.poisoned and not self.closed.is_set():
            before = self.knowledge.as_of()
            connection = self.connections[place]
            error = Unavailable(self._stream_error(connection).reason)
            if self.closed.is_set():
                return
            self._note_loss(connection, error)
            place = (place + 1) % count
            if self.knowledge.as_of() != before:
                failed, pause = 0, LEAST_PAUSE
                self._rest(LEAST_PAUSE)
                continue
            failed += 1
            if failed % count == 0:
                self._rest(pause)
                pause = min(pause * 2, LONGEST_PAUSE)

    def _rest(self, pause: float) -> None:
        self.closed.wait(pause * random.uniform(0.5, 1))

    def _note_loss(self, connection: Connection, error: Unavailable) -> None:
        LOG.debug("%s is not followed any more: %s", connection.name, error.reason)
        with self.changed:
            if self.knowledge.lack is not None and not self.knowledge.poisoned:
                self.knowledge.lack = error
            self.changed.notify_all()
        if self.knowledge.poisoned:
            LOG.error("something was revoked that this version of countersign cannot read: update it")
        _tell_always(self.hook, Event("lost", error.reason, connection.name))

    def _stream_error(self, connection: Connection) -> CountersignError:
        """Follows one replica to the end of its stream, and says why that ended."""
        try:
            self._stream(connection)
        except grpc.RpcError as error:
            return Unavailable("SILENT") if self._silent else of_status(error)
        except CountersignError as error:
            return error
        except Exception:
            # Whatever it is, it must not end the thread.
            if not self.closed.is_set():
                LOG.exception("a message was not understood")
        return Unavailable("STREAM_ENDED")

    def _stream(self, connection: Connection) -> None:
        stream = Stream(clock.now())
        cleaned = time.monotonic()
        self._silent, self._patience = False, time.monotonic() + SILENCE
        call = self._call = connection.watch(self.knowledge.position)
        if self.closed.is_set():
            call.cancel()
        try:
            for message in call:
                self._patience = time.monotonic() + SILENCE
                self.knowledge.hear(stream, message, clock.now())
                with self.changed:
                    self.changed.notify_all()
                if time.monotonic() - cleaned > CLEAN_EACH:
                    self.knowledge.forget_expired(clock.now())
                    cleaned = time.monotonic()
        finally:
            self._call = None
            call.cancel()

    def _watch_silence(self) -> None:
        """Ends a call that has been silent for too long."""
        while not self.closed.wait(max(self._patience - time.monotonic(), 0.01)):
            call = self._call
            if time.monotonic() < self._patience:
                continue
            self._patience = time.monotonic() + SILENCE
            if call is not None and call is self._call:
                self._silent = True
                call.cancel()
