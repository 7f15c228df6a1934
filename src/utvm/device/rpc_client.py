"""A session over a byte stream: the host's side of the RPC protocol (SPEC.md, section "RPC").

In: a ``ByteStream`` to a device that runs the RPC server. Out: a ``Session``. Commands without a
result are queued and sent together with the next one that has one, in as few frames as hold them.
When the device restarts, a new session is opened before the error is raised, so that the caller can
go on with the same object.
"""

from __future__ import annotations

import contextlib
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from utvm.device.elf import ElfImage
from utvm.device.rpc_fault import FAULT_BYTES, read_fault
from utvm.device.rpc_link import NoSessionError, RpcLink
from utvm.device.session import (
    DeviceRestartedError,
    DeviceTensor,
    Fault,
    Function,
    FunctionStatistics,
    ProtocolError,
    Statistics,
    StatusError,
    Timing,
    status_name,
)
from utvm.device.stream import ByteStream
from utvm.support.errors import InputError
from utvm.support.text import printable

_COMMAND_HEAD = struct.Struct("<BBH")
_RESULT_HEAD = struct.Struct("<iI")
_MAX_QUEUED_BYTES = 1 << 20
_WATCHDOG_SHARE = 0.8
"""Of the deadline: the device restarts itself, and has time to say so, before it passes."""


class _Number(IntEnum):
    LOOKUP = 1
    ALLOCATE = 2
    FREE = 3
    WRITE = 4
    READ = 5
    CALL = 6
    TIME = 7
    LOGS = 8
    FAULT = 9
    RESET = 10
    STATISTICS = 11
    FUNCTION_STATISTICS = 12
    WATCHDOG = 13


@dataclass(frozen=True)
class _Command:
    """``result_bytes`` is the most that comes back, ``what`` names the command in errors."""

    number: _Number
    arguments: bytes
    result_bytes: int
    what: str

    @property
    def request_bytes(self) -> int:
        return _COMMAND_HEAD.size + len(self.arguments)

    @property
    def reply_bytes(self) -> int:
        return _RESULT_HEAD.size + self.result_bytes

    def encode(self) -> bytes:
        return _COMMAND_HEAD.pack(self.number, 0, len(self.arguments)) + self.arguments


class RpcSession:
    """See ``Session``. It owns the stream. ``timeout_seconds`` bounds every round trip.

    ``watchdog_ms`` is how long one ``call``, or one repetition of ``time``, may take before the
    device restarts itself; 0: for ever. Unless told it is a little less than the timeout. Devices
    without a watchdog pass over it. With the program's ``image`` faults are told with symbols.
    """

    def __init__(
        self,
        stream: ByteStream,
        *,
        timeout_seconds: float = 10.0,
        retry_seconds: float = 0.25,
        watchdog_ms: int | None = None,
        image: ElfImage | None = None,
    ) -> None:
        self.timeout_seconds = timeout_seconds
        self._watchdog_ms = (
            int(_WATCHDOG_SHARE * 1000 * timeout_seconds) if watchdog_ms is None else watchdog_ms
        )
        self._stream = stream
        self._image = image
        self._names: dict[int, str] = {}
        self._link = RpcLink(stream, retry_seconds)
        self._queue: list[_Command] = []
        self._queued_bytes = 0
        try:
            self._open(self._deadline())
        except BaseException:
            stream.close()
            raise

    def __enter__(self) -> RpcSession:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def reopen(self) -> None:
        """A new session after an error that ended the last one."""
        self._drop_queue()
        self._open(self._deadline())

    def _open(self, deadline: float) -> None:
        """A new session; its first command, sent with the next ones, sets the watchdog."""
        self.welcome = self._link.open(deadline)
        if self.welcome.has_watchdog:
            self.set_watchdog(self._watchdog_ms)

    def set_watchdog(self, milliseconds: int) -> None:
        """How long a call may take; queued. StatusError with TVM_ERROR_RPC_TIMER: it has none."""
        self._put(_Number.WATCHDOG, _pack("<I", milliseconds), f"watchdog({milliseconds} ms)")
        self._watchdog_ms = milliseconds

    def function(self, name: str) -> Function:
        """The operator of that name; StatusError with TVM_ERROR_FUNCTION if there is none."""
        what = f"lookup of {printable(name)}"
        (index,) = self._unpack("<H", self._ask(_Number.LOOKUP, name.encode("utf-8"), 2, what))
        self._names[index] = name
        return Function(name, index)

    def allocate(self, size_bytes: int) -> int:
        """The address of memory of undefined content, aligned to 8."""
        arguments = _pack("<I", size_bytes)
        result = self._ask(_Number.ALLOCATE, arguments, 8, f"allocate({size_bytes})")
        return int(self._unpack("<Q", result)[0])

    def free(self, address: int) -> None:
        """Returns memory; queued."""
        self._put(_Number.FREE, _pack("<Q", address), f"free({address:#x})")

    def write(self, address: int, data: bytes) -> None:
        """Copies bytes to the device; queued."""
        step = self.welcome.payload_bytes - _COMMAND_HEAD.size - 8
        for at in range(0, len(data), step):
            piece = data[at : at + step]
            what = f"write({address + at:#x}, {len(piece)} bytes)"
            self._put(_Number.WRITE, _pack("<Q", address + at) + piece, what)

    def read(self, address: int, size_bytes: int) -> bytes:
        """Copies bytes from the device."""
        step = self.welcome.payload_bytes - 2 * _RESULT_HEAD.size
        pieces: list[int] = []
        for at in range(0, size_bytes, step):
            count = min(step, size_bytes - at)
            what = f"read({address + at:#x}, {count} bytes)"
            self._append(_Command(_Number.READ, _pack("<QI", address + at, count), count, what))
            pieces.append(count)
        results = self._run_queue()[-len(pieces) :] if pieces else []
        if [len(result) for result in results] != pieces:
            raise ProtocolError("the device sent another number of bytes than was asked for")
        return b"".join(results)

    def call(self, function: Function, tensors: Sequence[DeviceTensor]) -> None:
        """Calls an operator; queued."""
        self._put(_Number.CALL, _call_arguments(function, tensors), f"call of {function.name}")

    def time(
        self,
        function: Function,
        tensors: Sequence[DeviceTensor],
        *,
        repeat: int = 1,
        number: int = 1,
        min_repeat_ms: int = 0,
    ) -> Timing:
        """Calls an operator ``repeat`` times ``number`` times, in one round trip.

        ``number`` is doubled on the device until a repetition takes ``min_repeat_ms``.
        """
        arguments = _pack("<III", repeat, number, min_repeat_ms)
        arguments += _call_arguments(function, tensors)
        what = f"timing of {function.name}"
        result = self._ask(_Number.TIME, arguments, 8 + 8 * repeat, what)
        numbers = self._unpack(f"<{1 + repeat}Q", result)
        if numbers[0] < number:
            raise ProtocolError("the device made another number of calls than was asked for")
        return Timing(numbers[0], tuple(numbers[1:]), self.welcome.cycles_per_second)

    def flush(self) -> None:
        """Sends what is queued and waits until it is done."""
        self._run_queue()

    def logs(self) -> str:
        """What the device has logged since the last time."""
        lines: list[str] = []
        room = self.welcome.payload_bytes - 2 * _RESULT_HEAD.size
        while True:
            result = self._ask(_Number.LOGS, b"", room, "logs")
            (lost,) = self._unpack("<I", result[:4])
            lines.append(result[4:].decode("utf-8", "replace"))
            if lost:
                lines.append(f"({lost} lines lost)\n")
            if len(result) < room or len(lines) > 100:
                return "".join(lines)

    def statistics(self) -> Statistics:
        """Counters of the device."""
        return Statistics(
            *self._unpack("<9I", self._ask(_Number.STATISTICS, b"", 36, "statistics"))
        )

    def function_statistics(self, function: Function) -> FunctionStatistics:
        """Calls, cycles and memory of one operator."""
        what = f"statistics of {function.name}"
        arguments = _pack("<HH", function.index, 1)
        result = self._ask(_Number.FUNCTION_STATISTICS, arguments, 20, what)
        return FunctionStatistics(*self._unpack("<IQII", result))

    def fault(self) -> Fault | None:
        """What the device's program died of before it started again."""
        numbers = self._ask(_Number.FAULT, b"", FAULT_BYTES, "fault")
        return read_fault(numbers, self._names, self._image) if numbers else None

    def reset(self) -> None:
        """Restarts the device and opens a new session; what is queued is dropped."""
        self._drop_queue()
        self._append(_Command(_Number.RESET, b"", 0, "reset"))
        deadline = self._deadline()
        # No session: it has restarted before its reply was heard, or there was none.
        with contextlib.suppress(NoSessionError):
            self._run_batch([self._queue.pop()], deadline)
        self._queued_bytes = 0
        self._open(deadline)

    def close(self) -> None:
        """Ends the stream; what is queued is dropped."""
        self._drop_queue()
        self._stream.close()

    def _deadline(self) -> float:
        return time.monotonic() + self.timeout_seconds

    def _drop_queue(self) -> None:
        self._queue.clear()
        self._queued_bytes = 0

    def _put(self, number: _Number, arguments: bytes, what: str) -> None:
        """Queues a command without a result; what would take too much memory here is sent."""
        self._append(_Command(number, arguments, 0, what))
        self._queued_bytes += len(arguments)
        if self._queued_bytes > _MAX_QUEUED_BYTES:
            self._run_queue()

    def _append(self, command: _Command) -> None:
        room = self.welcome.payload_bytes
        if command.request_bytes > room or command.reply_bytes + _RESULT_HEAD.size > room:
            raise InputError(
                "the command does not fit in a frame",
                where=command.what,
                expected=f"at most {room} bytes, as the device says",
            )
        self._queue.append(command)

    def _ask(self, number: _Number, arguments: bytes, result_bytes: int, what: str) -> bytes:
        """The result of a command, behind all that is queued."""
        self._append(_Command(number, arguments, result_bytes, what))
        return self._run_queue()[-1]

    def _run_queue(self) -> list[bytes]:
        """The results of all queued commands; each frame has its own deadline."""
        queue = list(self._queue)
        self._drop_queue()
        results: list[bytes] = []
        while queue:
            count = self._fitting(queue)
            try:
                results += self._run_batch(queue[:count], self._deadline())
            except NoSessionError as error:
                raise self._restarted(queue[0].what) from error
            queue = queue[count:]
        return results

    def _fitting(self, queue: Sequence[_Command]) -> int:
        """How many commands go into one frame, whose reply must fit in one, too."""
        request, reply, count = 0, _RESULT_HEAD.size, 0
        for command in queue:
            request += command.request_bytes
            reply += command.reply_bytes
            if max(request, reply) > self.welcome.payload_bytes:
                break
            count += 1
        return count

    def _run_batch(self, batch: Sequence[_Command], deadline: float) -> list[bytes]:
        reply = self._link.exchange(b"".join(c.encode() for c in batch), deadline)
        results: list[bytes] = []
        at = 0
        for command in batch:
            if len(reply) - at < _RESULT_HEAD.size:
                raise ProtocolError("a result is missing in the reply", where=command.what)
            status, size = _RESULT_HEAD.unpack_from(reply, at)
            at += _RESULT_HEAD.size
            if status != 0:
                raise _status_error(command, status)
            if size > min(len(reply) - at, command.result_bytes):
                raise ProtocolError("a result is longer than it may be", where=command.what)
            results.append(reply[at : at + size])
            at += size
        if at != len(reply):
            raise ProtocolError("the reply has more results than the request has commands")
        return results

    def _restarted(self, what: str) -> DeviceRestartedError:
        """Opens a new session, and asks the device what happened."""
        self._open(self._deadline())
        fault = self.fault() if self.welcome.has_fault else None
        error = DeviceRestartedError(
            "the device has restarted",
            where=f"call of {printable(fault.name)}" if fault and fault.name else what,
            found=fault.text if fault else "",
            hint="a new session is open; its memory is to be allocated and written again",
        )
        error.fault = fault
        return error

    def _unpack(self, layout: str, data: bytes) -> tuple[int, ...]:
        if struct.calcsize(layout) != len(data):
            raise ProtocolError("a result has another size than it should", found=f"{len(data)}")
        return struct.unpack(layout, data)


def _status_error(command: _Command, status: int) -> StatusError:
    error = StatusError("the device refused or failed", where=command.what)
    error.found = status_name(status)
    error.status = status
    return error


def _pack(layout: str, *numbers: int) -> bytes:
    try:
        return struct.pack(layout, *numbers)
    except struct.error as error:
        raise InputError("a number is out of range", found=str(numbers)) from error


def _call_arguments(function: Function, tensors: Sequence[DeviceTensor]) -> bytes:
    parts = [_pack("<HH", function.index, len(tensors))]
    for tensor in tensors:
        code, bits = tensor.type_code
        shape = tensor.shape
        parts.append(_pack("<QBBH", tensor.address, code, bits, len(shape)))
        parts.append(_pack(f"<{len(shape)}I", *shape))
    return b"".join(parts)
