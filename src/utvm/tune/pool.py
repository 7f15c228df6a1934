"""Worker processes, one per device: given jobs, watched, and replaced when they die.

In: setups and jobs. Out: trials, in the order in which they are ready. A worker that ends, or says
nothing for longer than its deadline, costs the job that it was running: that becomes a failed
trial, what else it had goes to a new worker. A device whose workers cannot even begin several times
in a row is given up; without any device left that is a ``DeviceError``.
"""

from __future__ import annotations

import contextlib
import queue
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import PIPE
from typing import Any

import utvm
from utvm.device.child import Child, end_child, start_child
from utvm.support.errors import DeviceError
from utvm.support.text import printable
from utvm.tune.measure import HUNG, LOST, Job, Setup, Trial
from utvm.tune.worker import receive, send

_ATTEMPTS = 3  # of a device to begin, before it is given up
_ROOT = Path(utvm.__file__).parents[1] if utvm.__file__ else Path(__file__).parents[2]
_PROGRAM = (
    f"import sys; sys.path.insert(0, {str(_ROOT)!r}); from utvm.tune.worker import main; main()"
)


@dataclass(eq=False)
class _Worker:
    """``running`` is the job on the device; ``jobs`` are those without a trial."""

    setup: Setup
    child: Child
    number: int
    ready: bool = False
    jobs: dict[int, Job] = field(default_factory=dict)
    running: int | None = None
    since: float = 0.0


class Pool:
    """``silence_seconds`` is how long a worker may say nothing."""

    def __init__(self, setups: Sequence[Setup], silence_seconds: float) -> None:
        self._silence = silence_seconds
        self._messages: queue.Queue[tuple[int, Any]] = queue.Queue()
        self._workers: dict[int, _Worker] = {}
        self._again: deque[Job] = deque()
        self._failures: dict[int, int] = {}
        self._started = 0
        self._reason = "no device"
        self.restarts = 0
        try:
            for setup in setups:
                self._start(setup)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def idle(self) -> int:
        """How many workers wait for jobs."""
        return sum(not worker.jobs for worker in self._workers.values())

    @property
    def busy(self) -> bool:
        """Whether trials are still to come."""
        return bool(self._again) or any(worker.jobs for worker in self._workers.values())

    def give(self, jobs: Sequence[Job]) -> None:
        """To a worker that is idle; what another one left behind goes with them."""
        worker = next(w for w in self._workers.values() if not w.jobs)
        everything = [*jobs, *self._again]
        self._again.clear()
        worker.jobs = {job.id: job for job in everything}
        worker.since = time.monotonic()
        # A worker that has died is noticed by its reader.
        with contextlib.suppress(OSError):
            assert worker.child.stdin is not None
            send(worker.child.stdin, everything)

    def wait(self, seconds: float) -> list[Trial]:
        """The trials that have come, after so many seconds at most."""
        trials: list[Trial] = []
        with contextlib.suppress(queue.Empty):
            trials += self._take(*self._messages.get(timeout=seconds))
            while True:
                trials += self._take(*self._messages.get_nowait())
        now = time.monotonic()
        for worker in list(self._workers.values()):
            if now - worker.since > self._silence and (worker.jobs or not worker.ready):
                trials += self._replace(worker, HUNG, "the device said nothing for too long")
        if self._again and self.idle:
            self.give(())
        return trials

    def close(self) -> None:
        """Ends all workers and what they started."""
        for worker in self._workers.values():
            _end(worker.child)
        self._workers.clear()

    def _start(self, setup: Setup) -> None:
        child = start_child([sys.executable, "-c", _PROGRAM], stdin=PIPE, stdout=PIPE)
        number, self._started = self._started, self._started + 1
        worker = _Worker(setup, child, number, since=time.monotonic())
        self._workers[number] = worker
        threading.Thread(target=self._read, args=(number, child), daemon=True).start()
        with contextlib.suppress(OSError):
            assert child.stdin is not None
            send(child.stdin, setup)

    def _read(self, number: int, child: Child) -> None:
        """In a thread of its own: messages until the worker ends."""
        assert child.stdout is not None
        try:
            while True:
                self._messages.put((number, receive(child.stdout)))
        except (EOFError, OSError, ValueError):
            self._messages.put((number, ("ended",)))

    def _take(self, number: int, message: tuple[Any, ...]) -> list[Trial]:
        worker = self._workers.get(number)
        if worker is None:
            return []
        worker.since = time.monotonic()
        match message:
            case ("ready",):
                worker.ready = True
                self._failures.pop(id(worker.setup), None)
            case ("begin", job):
                worker.running = job
            case ("done", Trial() as trial):
                worker.jobs.pop(trial.id, None)
                return [trial]
            case ("idle",):
                worker.running = None
            case ("failed", text):
                self._reason = printable(str(text), 200)
                return self._replace(worker, LOST, self._reason)
            case ("ended",):
                return self._replace(worker, LOST, "the worker process has died")
        return []

    def _replace(self, worker: _Worker, status: str, detail: str) -> list[Trial]:
        """Another worker for the device; the job that was running is a failed trial."""
        _end(worker.child)
        del self._workers[worker.number]
        blamed = worker.running if worker.running in worker.jobs else None
        if blamed is None:
            blamed = next(iter(worker.jobs), None) if worker.ready else None
        self._again += [job for job in worker.jobs.values() if job.id != blamed]
        self.restarts += 1
        if not worker.ready:
            key = id(worker.setup)
            self._failures[key] = self._failures.get(key, 0) + 1
        if self._failures.get(id(worker.setup), 0) < _ATTEMPTS:
            self._start(worker.setup)
        elif not self._workers:
            raise DeviceError("no device can be used for tuning", found=self._reason)
        return [] if blamed is None else [Trial(blamed, status, detail=detail)]


def _end(child: Child) -> None:
    with contextlib.suppress(OSError):  # what could not be written any more
        end_child(child)
