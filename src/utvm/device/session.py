"""What every session with a device offers, whatever it goes over, and how it fails.

A ``Session`` has functions, memory that it allocates, calls, times, logs and statistics. Addresses
are the device's own. Every method ends within its deadline, with a result or with a ``DeviceError``
of the kinds below. Calls and writes may be queued: what they failed with is raised by ``flush`` or
by the next method that needs an answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from utvm.support.errors import DeviceError, InputError

# SPEC.md has the same list; tests hold both against the headers of the runtime.
STATUS_NAMES = {
    0: "TVM_OK",
    -1: "TVM_ERROR_ARGUMENT",
    -2: "TVM_ERROR_MEMORY",
    -3: "TVM_ERROR_WORKSPACE",
    -4: "TVM_ERROR_WORKSPACE_ORDER",
    -5: "TVM_ERROR_BUSY",
    -6: "TVM_ERROR_JSON",
    -7: "TVM_ERROR_JSON_DEPTH",
    -8: "TVM_ERROR_GRAPH",
    -9: "TVM_ERROR_FUNCTION",
    -10: "TVM_ERROR_NAME",
    -11: "TVM_ERROR_INDEX",
    -12: "TVM_ERROR_TENSOR",
    -13: "TVM_ERROR_PARAMS",
    -14: "TVM_ERROR_ARGUMENT_COUNT",
    -15: "TVM_ERROR_ARGUMENT_TYPE",
    -64: "TVM_ERROR_RPC_COMMAND",
    -65: "TVM_ERROR_RPC_ADDRESS",
    -66: "TVM_ERROR_RPC_SPACE",
    -67: "TVM_ERROR_RPC_BLOCKS",
    -68: "TVM_ERROR_RPC_VERSION",
    -69: "TVM_ERROR_RPC_TIMER",
    -70: "TVM_ERROR_RPC_STREAM",
    -71: "TVM_ERROR_RPC_STACK",
}

_TYPE_CODES = {"i": 0, "u": 1, "f": 2}


class DeviceTimeoutError(DeviceError):
    """No answer came before the deadline."""


class StreamClosedError(DeviceError):
    """The stream to the device has ended: the process died, or the port is gone."""


class ProtocolError(DeviceError):
    """The other side sends well-formed frames that make no sense."""


class DeviceRestartedError(DeviceError):
    """The device has restarted. A new session is open: functions and memory are to be asked anew.

    ``fault`` is what the device died of, when it knows.
    """

    fault: Fault | None = None


class DeviceFaultError(DeviceError):
    """A call faulted or did not come to its end. The session goes on, and memory is as it was left.

    ``fault`` says all that is known.
    """

    fault: Fault | None = None


class StatusError(DeviceError):
    """A command was refused or an operator failed: ``status`` is the device's code."""

    status: int = 0


@dataclass(frozen=True)
class Function:
    """An operator on the device, by its place in the registry."""

    name: str
    index: int


@dataclass(frozen=True)
class DeviceTensor:
    """A row-major tensor in the device's memory."""

    address: int
    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def size_bytes(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize

    @property
    def type_code(self) -> tuple[int, int]:
        """DLPack's code and bits of the element type."""
        if self.dtype.kind == "b":
            return 1, 1
        if self.dtype.kind not in _TYPE_CODES:
            raise InputError("the element type has no code", found=self.dtype.name)
        return _TYPE_CODES[self.dtype.kind], 8 * self.dtype.itemsize


@dataclass(frozen=True)
class Timing:
    """Each repetition made ``number`` calls, which took ``cycles[i]`` of the device's counter."""

    number: int
    cycles: tuple[int, ...]
    cycles_per_second: int  # 0: unknown

    @property
    def cycles_per_call(self) -> float:
        """The median over the repetitions."""
        return float(np.median(self.cycles)) / self.number


@dataclass(frozen=True)
class Statistics:
    """Counters of the device since it started, and the high-water marks of its memory.

    ``stack_bytes`` is 0 where the device does not know its stack.
    """

    frames: int
    damaged_frames: int
    repeated_frames: int
    calls: int
    memory_bytes: int
    memory_peak_bytes: int
    workspace_peak_bytes: int
    stack_bytes: int = 0
    stack_peak_bytes: int = 0


@dataclass(frozen=True)
class FunctionStatistics:
    """Calls of one operator since the device started, their cycles together, and their memory.

    The stack is counted from its top: with what whoever calls the operator has on it.
    """

    calls: int
    cycles: int
    workspace_peak_bytes: int = 0
    stack_peak_bytes: int = 0


@dataclass(frozen=True)
class Fault:
    """What an earlier run of the device's program died of.

    ``function`` is the index of the operator that ran, ``name`` its name if the session knows it.
    ``kind`` is a word or two, such as 'bus fault' or 'watchdog'; ``text`` says all that is known.
    """

    function: int | None
    text: str
    name: str = ""
    kind: str = ""
    pc: int | None = None
    address: int | None = None  # that an access failed at


class Session(Protocol):
    """A device that runs operators on command."""

    def function(self, name: str) -> Function: ...

    def allocate(self, size_bytes: int) -> int: ...

    def free(self, address: int) -> None: ...

    def write(self, address: int, data: bytes) -> None: ...

    def read(self, address: int, size_bytes: int) -> bytes: ...

    def call(self, function: Function, tensors: Sequence[DeviceTensor]) -> None: ...

    def time(
        self,
        function: Function,
        tensors: Sequence[DeviceTensor],
        *,
        repeat: int = 1,
        number: int = 1,
        min_repeat_ms: int = 0,
    ) -> Timing: ...

    def flush(self) -> None: ...

    def logs(self) -> str: ...

    def statistics(self) -> Statistics: ...

    def fault(self) -> Fault | None: ...

    def reset(self) -> None: ...

    def close(self) -> None: ...


def status_name(status: int) -> str:
    """The name of a code, also of one that is not in the list."""
    return STATUS_NAMES.get(status, f"status {status}")
