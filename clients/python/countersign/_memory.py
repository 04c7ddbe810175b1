"""Bounded memory of what was said of tokens."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

# Bytes of an entry beside its text, about.
ENTRY = 1024
_V = TypeVar("_V")


class Memory(Generic[_V]):
    """Memory by text, bounded in number and in bytes. Threads share it.

    It has two halves: what is used moves to the younger one, and when that is full the older one is dropped. So what is used
    stays, whatever else comes once. Nobody waits for another thread: what finds the memory busy is not remembered.
    """

    def __init__(self, entries: int, size: int) -> None:
        """Has room for about so many entries, and bytes. None for 0."""
        self._entries, self._size = -(-entries // 2), size // 2
        self._young: dict[str, _V] = {}
        self._old: dict[str, _V] = {}
        self._young_size = 0
        self._busy = threading.Lock()

    def get(self, text: str) -> _V | None:
        found = self._young.get(text)
        if found is None:
            found = self._old.get(text)
            if found is not None:
                self.set(text, found)
        return found

    def set(self, text: str, value: _V) -> None:
        size = len(text) + ENTRY
        if not 0 < size <= self._size or self._entries <= 0 or not self._busy.acquire(blocking=False):
            return
        try:
            if text not in self._young:
                if len(self._young) >= self._entries or self._young_size + size > self._size:
                    self._old, self._young, self._young_size = self._young, {}, 0
                self._young_size += size
            self._young[text] = value
        finally:
            self._busy.release()

    def drop(self, text: str) -> None:
        """Forgets an entry."""
        if self._busy.acquire(blocking=False):
            try:
                self._old.pop(text, None)
                if self._young.pop(text, None) is not None:
                    self._young_size -= len(text) + ENTRY
            finally:
                self._busy.release()

    def retain(self, is_kept: Callable[[_V], bool]) -> None:
        """Forgets all entries but those that are kept."""
        for half in (self._young, self._old):
            # A copy, which no other thread changes.
            for text, value in list(half.items()):
                if not is_kept(value):
                    self.drop(text)

    def __len__(self) -> int:
        """The number of entries; one that has moved may count twice."""
        return len(self._young) + len(self._old)
