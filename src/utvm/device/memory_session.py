"""A session with a device that offers only read, write, registers and run: the design of 2019.

In: a ``MemoryAccess``, and a program for the device's RAM (memory_program.py). Out: a ``Session``.
The program is written once; then each flush writes the queued calls as one array of tasks, runs the
core up to ``utvm_task_stop``, and reads the results. Functions are symbols of the program or of a
module that ``load`` puts beside it. Memory is given out here, not on the device.

A fault, or a call that misses its deadline, raises ``DeviceFaultError`` (with the operator and the
place); before the next run the core is reset and the program written again. Tensors keep what they
hold, as far as the device's RAM survives a reset and the fault did not reach it.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Sequence
from dataclasses import replace

from utvm.device.elf import ElfImage
from utvm.device.memory_access import ARM, RISCV, AccessFaultError, Convention, MemoryAccess
from utvm.device.memory_allocator import FirstFit, status_error
from utvm.device.memory_image import ImageWriter
from utvm.device.memory_program import free_memory
from utvm.device.memory_task import (
    Call,
    Outcome,
    Result,
    decode_tasks,
    encode_tasks,
    result_bytes,
)
from utvm.device.rpc_fault import read_fault
from utvm.device.session import (
    DeviceFaultError,
    DeviceTensor,
    DeviceTimeoutError,
    Fault,
    Function,
    FunctionStatistics,
    Statistics,
    Timing,
    status_name,
)
from utvm.support.errors import DeviceError, InputError
from utvm.support.text import printable
from utvm.target.board import Board

_ERROR_FUNCTION, _ERROR_ADDRESS = -9, -65
_MOST_NUMBER = 1 << 31


class MemorySession:
    """See ``Session``. It owns the access. ``timeout_seconds`` bounds every run of the core.

    ``free`` are the ranges of RAM that it may give out; ``clock_hz`` is 0 where it is not known.
    """

    def __init__(
        self,
        access: MemoryAccess,
        image: ElfImage,
        free: Sequence[tuple[int, int]],
        *,
        convention: Convention = ARM,
        clock_hz: int = 0,
        timeout_seconds: float = 10.0,
    ) -> None:
        self.timeout_seconds = timeout_seconds
        self.image = image
        """The program, and the functions of the module that is loaded."""
        self._access, self._resident, self._convention = access, image, convention
        self._free, self._clock_hz = tuple(free), clock_hz
        self._writer = ImageWriter(access)
        self._module: ElfImage | None = None
        self._area = image.symbols["utvm_task_area"].address
        self._area_bytes = image.symbols["__utvm_task_bytes"].address
        self._functions: list[Function] = []
        self._queue: list[Call] = []
        self._statistics: dict[str, FunctionStatistics] = {}
        self._log = ""
        self._fault: Fault | None = None
        self._start_over()
        try:
            self._restore()
        except BaseException:
            access.close()
            raise

    def __enter__(self) -> MemorySession:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def written_bytes(self) -> int:
        """Of programs and modules, since the session began."""
        return self._writer.written_bytes

    def load(self, module: ElfImage) -> None:
        """Puts a module in place of the last one; only what differs is written."""
        self.flush()
        self._recover()
        low, high = (self._resident.symbols[f"__utvm_module_{e}"].address for e in ("start", "end"))
        for segment in module.segments:
            if not low <= segment.vaddr <= segment.vaddr + segment.memsz <= high:
                raise DeviceError(
                    "the module is not linked for this program",
                    where=module.path.name,
                    expected=f"addresses from {low:#010x} to {high:#010x}",
                    found=f"{segment.memsz} bytes at {segment.vaddr:#010x}",
                )
        self._module = module
        self.image = _merged(self._resident, module)
        self._writer.write(module)

    def function(self, name: str) -> Function:
        """The function of that name; StatusError with TVM_ERROR_FUNCTION if there is none."""
        self._address_of(name, f"lookup of {printable(name)}")
        for function in self._functions:
            if function.name == name:
                return function
        self._functions.append(Function(name, len(self._functions)))
        return self._functions[-1]

    def allocate(self, size_bytes: int) -> int:
        """The address of memory of undefined content, aligned to 8."""
        if size_bytes < 0:
            raise InputError("a size is negative", found=str(size_bytes))
        self.flush()  # what is queued may count on the memory for scratch that is free now
        return self._memory.allocate(size_bytes)

    def free(self, address: int) -> None:
        """Returns memory."""
        self.flush()
        self._memory.free(address)

    def write(self, address: int, data: bytes) -> None:
        """Copies bytes to the device, behind the calls that are queued."""
        self._check(address, len(data), f"write({address:#x}, {len(data)} bytes)")
        self.flush()
        if data:
            self._access.write(address, data)

    def read(self, address: int, size_bytes: int) -> bytes:
        """Copies bytes from the device."""
        self._check(address, size_bytes, f"read({address:#x}, {size_bytes} bytes)")
        self.flush()
        return self._access.read(address, size_bytes) if size_bytes else b""

    def call(self, function: Function, tensors: Sequence[DeviceTensor]) -> None:
        """Calls a function; queued."""
        self._queue.append(self._call(function, tensors, 1))

    def time(
        self,
        function: Function,
        tensors: Sequence[DeviceTensor],
        *,
        repeat: int = 1,
        number: int = 1,
        min_repeat_ms: int = 0,
    ) -> Timing:
        """Calls a function ``repeat`` times ``number`` times, in one run if all goes well.

        ``number`` is doubled until a repetition takes ``min_repeat_ms``.
        """
        if repeat < 1 or not 1 <= number < _MOST_NUMBER:
            raise InputError("a number of calls is out of range", found=f"{repeat} times {number}")
        least = min_repeat_ms * self._clock_hz // 1000
        if min_repeat_ms and not self._clock_hz:
            raise InputError(
                "the speed of the device's counter is not known", where="min_repeat_ms"
            )
        self.flush()
        cycles: list[int] = []
        while not cycles:
            results = self._run_all(
                [self._call(function, tensors, number)] * (1 if least else repeat)
            )
            cycles = [result.cycles for result in results]
            if cycles[0] < least and 2 * number < _MOST_NUMBER:
                cycles, number = [], 2 * number
        cycles += [
            result.cycles
            for result in self._run_all(
                [self._call(function, tensors, number)] * (repeat - len(cycles))
            )
        ]
        return Timing(number, tuple(cycles), self._clock_hz)

    def flush(self) -> None:
        """Runs what is queued. What the first failure leaves behind it is dropped."""
        queue, self._queue = self._queue, []
        self._run_all(queue)

    def logs(self) -> str:
        """What the device has logged since the last time."""
        self.flush()
        text, self._log = self._log, ""
        return text

    def statistics(self) -> Statistics:
        """Counters since the session or the last reset began; a run counts as a frame."""
        self.flush()
        stack = [self._resident.symbols[f"__utvm_stack_{end}"].address for end in ("low", "top")]
        every = self._statistics.values()
        return Statistics(
            frames=self._runs,
            damaged_frames=0,
            repeated_frames=0,
            calls=sum(statistics.calls for statistics in every),
            memory_bytes=self._memory.total_bytes,
            memory_peak_bytes=self._memory.peak_bytes,
            workspace_peak_bytes=max((s.workspace_peak_bytes for s in every), default=0),
            stack_bytes=stack[1] - stack[0],
            stack_peak_bytes=max((s.stack_peak_bytes for s in every), default=0),
        )

    def function_statistics(self, function: Function) -> FunctionStatistics:
        """Calls, cycles and memory of one function."""
        self.flush()
        return self._statistics.get(function.name, FunctionStatistics(0, 0))

    def fault(self) -> Fault | None:
        """What the last call that did not come to its end died of."""
        return self._fault

    def reset(self) -> None:
        """Resets the device and begins anew: memory is to be allocated again; the module stays."""
        self._start_over()
        self._restore()

    def close(self) -> None:
        """Ends the access; what is queued is dropped."""
        self._queue.clear()
        self._access.close()

    def _start_over(self) -> None:
        self._queue = []
        self._memory = FirstFit(self._free)
        self._statistics = {}
        self._runs = 0
        self._log = ""
        self._fault = None
        self._broken = False  # a call did not come to its end: the program can't be trusted
        self._ready = False  # the device has cleared its variables

    def _restore(self) -> None:
        """The core and the program as they were at the beginning."""
        self._access.reset()
        self._writer.forget()
        self._writer.write(self._resident)
        if self._module is not None:
            self._writer.write(self._module)
        self._broken = self._ready = False

    def _recover(self) -> None:
        if self._broken:
            self._restore()

    def _check(self, address: int, size_bytes: int, what: str) -> None:
        if size_bytes < 0 or not self._memory.holds(address, size_bytes):
            raise status_error(_ERROR_ADDRESS, what)

    def _address_of(self, name: str, what: str) -> int:
        """Where calls go: on Arm with the bit that says Thumb."""
        symbol = self.image.symbols.get(name)
        if symbol is None or symbol.kind != "func":
            raise status_error(_ERROR_FUNCTION, what)
        return symbol.address | (0 if self._convention is RISCV else 1)

    def _call(self, function: Function, tensors: Sequence[DeviceTensor], calls: int) -> Call:
        what = f"call of {function.name}"
        for tensor in tensors:
            self._check(tensor.address, tensor.size_bytes, what)
        call = Call(function.name, self._address_of(function.name, what), tuple(tensors), calls)
        if call.size_bytes > self._task_room:
            raise InputError(
                "the arguments of the call do not fit into the device's memory for tasks",
                where=what,
                expected=f"at most {self._task_room} bytes",
                found=f"{call.size_bytes} bytes",
            )
        return call

    @property
    def _task_room(self) -> int:
        return self._area_bytes - result_bytes(0)

    def _run_all(self, calls: Sequence[Call]) -> list[Result]:
        """Runs calls, as many at a time as the area holds."""
        results: list[Result] = []
        left = list(calls)
        while left:
            room, count = self._task_room, 0
            while count < len(left) and left[count].size_bytes <= room:
                room -= left[count].size_bytes
                count += 1
            results += self._run(left[:count])
            left = left[count:]
        return results

    def _run(self, calls: Sequence[Call]) -> tuple[Result, ...]:
        self._recover()
        access, symbols = self._access, self._resident.symbols
        workspace = self._memory.largest_hole()
        access.write(self._area, encode_tasks(self._area, calls, self._ready, workspace))
        access.set_register(self._convention.stack, symbols["__utvm_stack_top"].address)
        access.set_register(self._convention.pc, symbols["utvm_task_entry"].address)
        self._runs += 1
        try:
            access.run(symbols["utvm_task_stop"].address, time.monotonic() + self.timeout_seconds)
        except (AccessFaultError, DeviceTimeoutError) as error:
            self._broken = True
            raise self._lost(calls, error) from error
        self._ready = True
        outcome = decode_tasks(access.read(self._area, result_bytes(len(calls))), len(calls))
        self._take(calls, outcome)
        return outcome.results

    def _take(self, calls: Sequence[Call], outcome: Outcome) -> None:
        """Counters and logs of a run, and its error."""
        for call, result in zip(calls, outcome.results, strict=True):
            self._count(call.name, result)
        if outcome.log_bytes or outcome.log_lost:
            log = self._resident.symbols["utvm_task_log"].address
            self._log += self._access.read(log, outcome.log_bytes).decode("utf-8", "replace")
            self._log += f"({outcome.log_lost} lines lost)\n" if outcome.log_lost else ""
        if outcome.reason:
            self._broken = True
            raise self._died(calls, outcome)
        if outcome.status:
            name = calls[outcome.done].name if outcome.done < len(calls) else ""
            self._log += f"{status_name(outcome.status)}: {name}\n"
            raise status_error(outcome.status, f"call of {name}")

    def _count(self, name: str, result: Result) -> None:
        before = self._statistics.get(name, FunctionStatistics(0, 0))
        self._statistics[name] = FunctionStatistics(
            before.calls + result.calls,
            before.cycles + result.cycles,
            max(before.workspace_peak_bytes, result.workspace_peak_bytes),
            max(before.stack_peak_bytes, result.stack_peak_bytes),
        )

    def _died(self, calls: Sequence[Call], outcome: Outcome) -> DeviceFaultError:
        name = calls[outcome.running].name if outcome.running is not None else ""
        index = self._index(name)
        number = struct.pack("<I", 0xFFFFFFFF if index is None else index)
        names = {} if index is None else {index: name}
        self._fault = fault = read_fault(number + outcome.fault, names, self.image)
        return _fault_error(fault, name)

    def _lost(self, calls: Sequence[Call], error: DeviceError) -> DeviceFaultError:
        """A run that did not come to the stop: halted at its deadline, or it can't go on."""
        kind = "watchdog" if isinstance(error, DeviceTimeoutError) else "lost"
        pc = self._access.register(self._convention.pc)
        data = self._access.read(self._area, result_bytes(len(calls)))
        running = decode_tasks(data, len(calls)).running
        name = calls[running].name if running is not None else ""
        place = self.image.function_at(pc)
        where = f"{pc:#010x}" + (f" ({place})" if not place.startswith("0x") else "")
        text = f"{kind} at pc {where}, {error.what}"
        self._fault = fault = Fault(self._index(name), printable(text, 200), name, kind, pc)
        return _fault_error(fault, name)

    def _index(self, name: str) -> int | None:
        return next((f.index for f in self._functions if f.name == name), None)


def open_memory_session(
    access: MemoryAccess, image: ElfImage, board: Board, *, timeout_seconds: float = 10.0
) -> MemorySession:
    """A session with the program ``image`` in the RAM of ``board``."""
    return MemorySession(
        access,
        image,
        free_memory(image, board),
        convention=RISCV if board.port == "riscv" else ARM,
        clock_hz=board.clock_hz,
        timeout_seconds=timeout_seconds,
    )


def _fault_error(fault: Fault, name: str) -> DeviceFaultError:
    error = DeviceFaultError(
        "the device faulted",
        where=f"call of {name}" if name else "start of the program",
        found=fault.text,
        hint="the session goes on; the core is reset before the next call",
    )
    error.fault = fault
    return error


def _merged(program: ElfImage, module: ElfImage) -> ElfImage:
    """A program with a module's functions: for lookups and for names of addresses."""
    functions = sorted((*program.functions, *module.functions), key=lambda f: f.address)
    return replace(
        program,
        symbols={**module.symbols, **program.symbols},
        functions=tuple(functions),
    )
