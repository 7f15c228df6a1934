"""Measures candidates on one device: builds them, loads them into RAM, checks them, times them.

In: tasks, a device, and jobs (a task and a config each). Out: for every job a ``Trial``: cycles and
sizes, or what went wrong. A candidate whose outputs differ in one bit from what is expected (of
floats, beyond the tolerance of ``utvm run``) is refused as inexact. Whatever a candidate does, the
next one starts from tensors that are written anew, and after a fault from a core that was reset. A
device that does not answer at all raises ``DeviceError``; who runs this then opens another one.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from utvm.device.elf import ElfImage
from utvm.device.memory_session import MemorySession
from utvm.device.session import DeviceFaultError, DeviceTensor, StatusError
from utvm.device.toolchain import find_toolchain
from utvm.driver.tensors import Rows, compare
from utvm.driver.transports import Endpoint, open_session
from utvm.schedule.knobs import Option
from utvm.schedule.records import OK, Config
from utvm.support.errors import MemoryLimitError, ToolchainError, UtvmError
from utvm.target.board import load_board
from utvm.target.target import load_target
from utvm.tune.build import Candidate, Workbench, build_module, build_resident, make_candidate
from utvm.tune.devices import Device
from utvm.tune.tasks import Task

INEXACT, FAULT, HUNG, BUILD, SCHEDULE, MEMORY, LOST = (
    "inexact",
    "fault",
    "timeout",
    "build",
    "schedule",
    "memory",
    "lost",
)
"""Statuses of trials that failed. LOST: the device or its process went away."""

_REPEATS_ON_BOARDS = 3
_DEFECTS = (
    AssertionError,
    ArithmeticError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What a template may raise for a config that it was never tried with; it costs the trial."""


@dataclass(frozen=True)
class Job:
    """A config to try; ``task`` is an index."""

    id: int
    task: int
    config: Config


@dataclass(frozen=True)
class Trial:
    """What became of a job."""

    id: int
    status: str
    cycles: int = 0
    code_bytes: int = 0
    constant_bytes: int = 0
    seconds: float = 0.0
    detail: str = ""


@dataclass(frozen=True)
class Setup:
    """All that a worker needs to begin; names, since it loads target and board by itself.

    ``seconds`` bounds every run of the core.
    """

    target: str
    toolchain: str | None
    device: Device
    tasks: tuple[Task, ...]
    seconds: float = 10.0


class Meter:
    """A device with a session. ``close`` ends it."""

    def __init__(self, setup: Setup, folder: Path) -> None:
        target, board = load_target(setup.target), load_board(setup.device.board)
        self._setup, self._target = setup, target
        toolchain = find_toolchain(setup.toolchain, target)
        self._bench = Workbench(target, board, toolchain, folder)
        largest = max(task.tensor_bytes for task in setup.tasks)
        self._resident = build_resident(self._bench, largest)
        endpoint = Endpoint(board, target, setup.device.transport.argument, self._resident.path)
        session = open_session(setup.device.transport, endpoint)
        assert isinstance(session, MemorySession), setup.device
        session.timeout_seconds = setup.seconds
        self._session = session
        self._repeats = 1 if board.run == "emulator" else _REPEATS_ON_BOARDS
        self._options: dict[int, dict[Config, Option]] = {}

    def close(self) -> None:
        self._session.close()

    def measure(self, job: Job) -> Trial:
        """One trial, whatever becomes of it."""
        start = time.perf_counter()
        try:
            candidate = self._candidate(job)
        except UtvmError as error:
            return Trial(job.id, SCHEDULE, detail=str(error))
        except _DEFECTS as error:
            return Trial(job.id, SCHEDULE, detail=f"{type(error).__name__}: {error}")
        try:
            image = build_module(self._bench, self._resident, candidate)
        except MemoryLimitError as error:
            return Trial(job.id, MEMORY, detail=str(error))
        except ToolchainError as error:
            return Trial(job.id, BUILD, detail=str(error))
        self._session.load(image)
        trial = self._trial(job, candidate, image)
        return replace(trial, seconds=time.perf_counter() - start)

    def _candidate(self, job: Job) -> Candidate:
        if job.task not in self._options:
            self._options[job.task] = self._setup.tasks[job.task].options(self._target)
        option = self._options[job.task][job.config]
        return make_candidate(self._setup.tasks[job.task].module, option, self._target)

    def _trial(self, job: Job, candidate: Candidate, image: ElfImage) -> Trial:
        task = self._setup.tasks[job.task]
        try:
            cycles, outputs = self._timed(candidate, task)
        except DeviceFaultError as error:
            kind = error.fault.kind if error.fault is not None else ""
            status = HUNG if kind == "watchdog" else FAULT
            self._session.reset()
            return Trial(job.id, status, detail=error.found or error.what)
        except StatusError as error:
            self._session.reset()
            status = MEMORY if "MEMORY" in error.found or "WORKSPACE" in error.found else FAULT
            return Trial(job.id, status, detail=f"{error.what}: {error.found}")
        comparison = compare(outputs, task.expected)
        if not comparison.matches:
            return Trial(job.id, INEXACT, detail=comparison.first)
        code_bytes = candidate.code_bytes(image)
        return Trial(job.id, OK, cycles, code_bytes, candidate.constant_bytes)

    def _timed(self, candidate: Candidate, task: Task) -> tuple[int, Rows]:
        """One run, or on a board the median of some, from outputs that are all wrong."""
        session = self._session
        function = session.function(candidate.symbol)
        arrays = [array[0] for array in (*task.inputs, *task.expected)]
        tensors: list[DeviceTensor] = []
        try:
            for array in arrays:
                address = session.allocate(array.nbytes)
                tensors.append(DeviceTensor(address, array.shape, array.dtype))
            split = len(task.inputs)
            for at, (tensor, array) in enumerate(zip(tensors, arrays, strict=True)):
                data = _little(array)
                session.write(tensor.address, data if at < split else _inverted(data))
            timing = session.time(function, tensors, repeat=self._repeats)
            outputs = tuple(_read(session, tensor)[None] for tensor in tensors[split:])
        finally:
            if session.fault() is None:
                for tensor in tensors:
                    session.free(tensor.address)
        return round(timing.cycles_per_call), outputs


def _little(array: np.ndarray) -> bytes:
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()


def _inverted(data: bytes) -> bytes:
    return bytes(byte ^ 0xFF for byte in data)


def _read(session: MemorySession, tensor: DeviceTensor) -> np.ndarray:
    raw = session.read(tensor.address, tensor.size_bytes)
    data = np.frombuffer(raw, tensor.dtype.newbyteorder("<"))
    return data.astype(tensor.dtype).reshape(tensor.shape)
