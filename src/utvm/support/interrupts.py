"""Ctrl-C that waits a moment: until what was begun can also be undone.

In: nothing. Out: a context in which an interrupt is kept; calling what it yields lets it happen.
A process that is started within, and killed by a ``finally`` that is entered before the call,
cannot be lost between its start and the ``finally``. Threads other than the main one never get
interrupts, so there is nothing to keep there.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def interrupts_held() -> Iterator[Callable[[], None]]:
    """Keeps interrupts until the yielded function is called, or the block is left."""
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    kept: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: kept.append(number))

    def release() -> None:
        if before is not None:
            signal.signal(signal.SIGINT, before)
        if kept:
            kept.clear()
            signal.raise_signal(signal.SIGINT)

    try:
        yield release
    finally:
        if signal.getsignal(signal.SIGINT) is not before:
            release()
