"""The process that uses pyOCD for us: a script of its own, which knows nothing of utvm.

In: requests on standard input, a JSON object per line with ``do`` and its operands. Out: one JSON
line per request on what was standard output: ``{}`` with results, or ``error`` (a kind) with
``text``. pyOCD's log goes nowhere, its prints to standard error. The process ends with its standard
input. Whoever asks enforces deadlines by killing it: pyOCD's waits, and those of the USB libraries
below it, need not end.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import queue
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

_ICIALLU, _CLIDR = 0xE000EF50, 0xE000ED78
_THUMB = 1 << 24
_BKPT = 0xBE
_CATCH_NOTHING = 0
_POLL_SECONDS = 0.001
_EAGER_POLLS = 20  # short programs end while these are made


class RefusalError(Exception):
    """What was asked for does not work: a kind, and a text for people."""

    def __init__(self, kind: str, text: str) -> None:
        self.kind = kind
        super().__init__(text)


class Worker:
    """A connection to one core."""

    def __init__(self) -> None:
        self._session: Any = None
        self._core: Any = None
        self._cached = self._written = False

    def connect(self, target: str, probe: str, clock_hz: int, folder: str) -> dict[str, Any]:
        """Opens the only probe, or the one whose unique id holds ``probe``; halts the core."""
        from pyocd.core.helpers import ConnectHelper
        from pyocd.core.session import Session

        probes = ConnectHelper.get_all_connected_probes(blocking=False, unique_id=probe or None)
        if not probes:
            raise RefusalError("none", "")
        if len(probes) > 1:
            raise RefusalError("several", ", ".join(each.unique_id for each in probes))
        options = {
            "target_override": target,
            "connect_mode": "halt",
            "resume_on_disconnect": False,
            "frequency": clock_hz,
            "no_config": True,  # nor may a script in the user's folder have a say
            "project_dir": folder,
        }
        self._session = Session(probes[0], options=options)
        self._session.open()
        self._core = self._session.target.selected_core_or_raise
        self._core.halt()
        self._core.set_vector_catch(_CATCH_NOTHING)  # faults are the program's
        self._cached = self._core.read32(_CLIDR) != 0
        return {"probe": probes[0].unique_id}

    def read(self, address: int, size_bytes: int) -> dict[str, Any]:
        return {"data": bytes(self._core.read_memory_block8(address, size_bytes)).hex()}

    def write(self, address: int, data: str) -> dict[str, Any]:
        self._core.write_memory_block8(address, list(bytes.fromhex(data)))
        self._written = True
        return {}

    def register(self, name: str) -> dict[str, Any]:
        return {"value": self._core.read_core_register_raw(name)}

    def set_register(self, name: str, value: int) -> dict[str, Any]:
        self._core.write_core_register_raw(name, value)
        return {}

    def run(self, stop: int, seconds: float) -> dict[str, Any]:
        """See ``MemoryAccess.run``."""
        core = self._core
        if core.read_core_register_raw("pc") == stop:
            return {}
        if self._written and self._cached:
            core.write32(_ICIALLU, 0)
        self._written = False
        xpsr = core.read_core_register_raw("xpsr")
        if not xpsr & _THUMB:
            core.write_core_register_raw("xpsr", xpsr | _THUMB)
        # A bkpt stops by itself, and version 1 of the breakpoint unit cannot reach RAM.
        stops_itself = core.read8(stop + 1) == _BKPT
        if not stops_itself and not core.set_breakpoint(stop):
            raise RefusalError("target", f"no breakpoint can be set at {stop:#010x}")
        try:
            core.resume()
            self._wait(time.monotonic() + seconds)
        finally:
            if not stops_itself:
                core.remove_breakpoint(stop)
        pc = core.read_core_register_raw("pc")
        if pc != stop:
            raise RefusalError("stopped", f"pc {pc:#010x}")
        return {}

    def _wait(self, end: float) -> None:
        """Until the core halts."""
        from pyocd.core.target import Target

        polls = 0
        while (state := self._core.get_state()) != Target.State.HALTED:
            locked_up = state == Target.State.LOCKUP
            if locked_up or time.monotonic() > end:
                self._core.halt()
                if locked_up:
                    raise RefusalError("lockup", "")
                pc = self._core.read_core_register_raw("pc")
                raise RefusalError("timeout", f"the core was halted at {pc:#010x}")
            polls += 1
            if polls > _EAGER_POLLS:
                time.sleep(_POLL_SECONDS)

    def reset(self) -> dict[str, Any]:
        self._core.reset_and_halt()
        if not self._core.is_halted():
            raise RefusalError("target", "the core does not halt after its reset")
        return {}

    def close(self) -> dict[str, Any]:
        self._session.close()
        return {}


def _attempt(worker: Worker, request: dict[str, Any]) -> dict[str, Any]:
    """The answer to a request. Anything that pyOCD does not foresee ends the process."""
    try:
        from pyocd.core import exceptions
    except ModuleNotFoundError as error:
        return {"error": "missing", "text": str(error)}
    action: Callable[..., dict[str, Any]] = getattr(worker, request.pop("do"))
    try:
        return action(**request)
    except RefusalError as error:
        return {"error": error.kind, "text": str(error)}
    except exceptions.TransferFaultError as error:
        return {"error": "fault", "text": str(error)}
    except (exceptions.ProbeError, OSError) as error:
        return {"error": "lost", "text": str(error)}
    except (exceptions.Error, ValueError, KeyError) as error:
        return {"error": "target", "text": str(error)}


def _receive(requests: queue.SimpleQueue[str]) -> None:
    """A thread: ends the process with its input, also while a request is under way."""
    for line in sys.stdin:
        requests.put(line)
    os._exit(0)


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)
    logging.disable(logging.CRITICAL)
    requests: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=functools.partial(_receive, requests), daemon=True).start()
    worker = Worker()
    while True:
        answer = _attempt(worker, json.loads(requests.get()))
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
