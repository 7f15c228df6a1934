"""Memory access through OpenOCD: all probes and chips that it has a configuration for.

In: OpenOCD's arguments, or a board that has them. Out: ``OpenOcdAccess``, a ``MemoryAccess``. It
starts OpenOCD, resets and halts the core; nothing is written to flash. Memory travels in files in
a private folder, because a megabyte is slow as Tcl numbers. ``run`` takes a hardware
breakpoint where the core has one for the address, else OpenOCD writes a BKPT instruction there.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from utvm.device.memory_access import AccessFaultError
from utvm.device.openocd_process import CommandError, OpenOcd
from utvm.device.session import DeviceTimeoutError, StreamClosedError
from utvm.support.errors import DeviceError, InputError
from utvm.target.board import Board

_BLOCK_BYTES = 16384  # per command: each has its own time
_WAIT_SECONDS = 0.2  # per command while the core runs, so that Ctrl-C need not wait long
_IMAGE = "memory.bin"
_REGISTERS = {"xpsr": "xPSR"}  # names that OpenOCD spells otherwise
_CORTEX_M = ("cortex_m", "hla_target")

# Armv7-M ARM (DDI 0403E): CPUID B3.2.3, CCR B3.2.8, ICIALLU B3.2.21, FP_CTRL C1.11.3.
_CPUID, _CCR, _ICIALLU, _FP_CTRL = 0xE000ED00, 0xE000ED14, 0xE000EF50, 0xE0002000
_WITH_CACHE = (0xC27, 0xD22)  # part numbers of Cortex-M7 and M55
_INSTRUCTION_CACHE = 1 << 17
_PATCH_END = 0x20000000  # version 1 of the breakpoint unit compares only addresses below


class OpenOcdAccess:
    """See ``MemoryAccess``. Where OpenOCD has ended or lost the core, ``reset`` starts it anew.
    ``pid`` is its number, for tests."""

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        name: str = "OpenOCD",
        timeout_seconds: float = 10.0,
        hint: str = "connect the probe; does another program hold it?",
    ) -> None:
        self.name = name
        self.timeout_seconds = timeout_seconds  # for an answer of OpenOCD
        self._arguments, self._hint = tuple(arguments), hint
        self._cortex_m = False
        self._cached = False  # the core has an instruction cache
        self._code_changed = False  # since the cache was emptied
        self._hardware_end = 1 << 32  # breakpoints below are the core's own
        self._openocd = self._started()

    @property
    def pid(self) -> int:
        """Of the OpenOCD process."""
        return self._openocd.pid

    def read(self, address: int, size_bytes: int) -> bytes:
        """See ``MemoryAccess``."""
        blocks = []
        for start in range(address, address + size_bytes, _BLOCK_BYTES):
            size = min(_BLOCK_BYTES, address + size_bytes - start)
            self._transfer("read", start, size, f"dump_image {_IMAGE} {start:#x} {size}")
            blocks.append(self._openocd.get_file(_IMAGE))
        return b"".join(blocks)

    def write(self, address: int, data: bytes) -> None:
        """See ``MemoryAccess``."""
        for at in range(0, len(data), _BLOCK_BYTES):
            block, start = data[at : at + _BLOCK_BYTES], address + at
            self._openocd.put_file(_IMAGE, block)
            self._transfer("write", start, len(block), f"load_image {_IMAGE} {start:#x} bin")
        self._code_changed = True

    def register(self, name: str) -> int:
        """See ``MemoryAccess``."""
        result = self._register_command(name, f"get_reg {{{_REGISTERS.get(name, name)}}}")
        return int(result.split()[-1], 0)

    def set_register(self, name: str, value: int) -> None:
        """See ``MemoryAccess``."""
        self._register_command(name, f"set_reg {{{_REGISTERS.get(name, name)} {value:#x}}}")

    def run(self, stop: int, deadline: float) -> None:
        """See ``MemoryAccess``."""
        if self._cached and self._code_changed:
            self._empty_cache()
        kind = "hw" if stop < self._hardware_end else ""
        try:
            self._command(f"rbp all; bp {stop:#x} 2 {kind}; resume")
            try:
                in_time = self._wait(deadline)
            except KeyboardInterrupt:
                self._halt()
                self._command("rbp all")
                raise
            self._command("rbp all")
        except CommandError as error:
            raise AccessFaultError(
                "OpenOCD cannot run the core", where=self.name, found=str(error)
            ) from error
        pc = self.register("pc")
        if pc == stop:
            return
        if in_time:
            raise AccessFaultError(
                "the core has halted elsewhere",
                where=self.name,
                expected=f"pc {stop:#010x}",
                found=f"pc {pc:#010x}",
                hint="a breakpoint instruction, or a fault without a handler",
            )
        raise DeviceTimeoutError(
            "the core did not get where it was to stop in time",
            where=self.name,
            expected=f"pc {stop:#010x}",
            found=f"pc {pc:#010x}",
            hint="an endless loop, a fault, or too short a time",
        )

    def reset(self) -> None:
        """See ``MemoryAccess``."""
        try:
            self._reset()
        except (StreamClosedError, AccessFaultError):
            self._openocd.close()
            self._openocd = self._started()

    def close(self) -> None:
        """See ``MemoryAccess``. The core stays halted."""
        self._openocd.close()

    def _started(self) -> OpenOcd:
        """OpenOCD with a halted core, or the reason why there is none."""
        try:
            openocd = self._openocd = OpenOcd(self._arguments, self.name)
        except StreamClosedError as error:
            raise self._unreachable(error.found) from error
        try:
            self._examine(next(iter(openocd.errors()), ""))
            self._reset()
            self._cortex_m = self._command("[target current] cget -type").strip() in _CORTEX_M
            if self._cortex_m:
                self._look_at_core()
        except BaseException:
            openocd.close()
            raise
        return openocd

    def _examine(self, error: str) -> None:
        """OpenOCD runs on where no core answers; ``error`` is the first that it told of."""
        try:
            examined = self._command("[target current] was_examined").strip()
        except CommandError as none:
            raise DeviceError(
                "OpenOCD is told of no core",
                where=self.name,
                found=error or str(none),
                hint="the arguments must name the configuration of a chip",
            ) from none
        if examined != "1":
            raise self._unreachable(error)

    def _unreachable(self, found: str) -> DeviceError:
        hint = "OpenOCD needs that file" if "Can't find" in found else self._hint
        return DeviceError(
            "OpenOCD does not reach the board", where=self.name, found=found, hint=hint
        )

    def _look_at_core(self) -> None:
        cpuid, unit = self._word(_CPUID), self._word(_FP_CTRL)
        self._cached = (cpuid >> 4) & 0xFFF in _WITH_CACHE
        self._hardware_end = 1 << 32 if unit >> 28 else _PATCH_END

    def _empty_cache(self) -> None:
        """Probes write past the instruction cache."""
        if self._word(_CCR) & _INSTRUCTION_CACHE:
            self.write(_ICIALLU, bytes(4))
        self._code_changed = False

    def _word(self, address: int) -> int:
        return int.from_bytes(self.read(address, 4), "little")

    def _reset(self) -> None:
        """Scripts of chips complain about probes without a clock, so only the result counts."""
        try:
            self._command("reset halt")
            self._command("wait_halt 1000")
        except CommandError as error:
            raise AccessFaultError(
                "the core does not halt after its reset", where=self.name, found=str(error)
            ) from error

    def _wait(self, deadline: float) -> bool:
        """Whether the core halts in time by itself; else it is made to."""
        while True:
            now = time.monotonic()
            left = max(0.001, min(_WAIT_SECONDS, deadline - now))
            try:
                self._openocd.command(
                    f"wait_halt {round(1000 * left) or 1}", now + left + self.timeout_seconds
                )
            except CommandError:
                if time.monotonic() < deadline:
                    continue
                self._halt()
                return False
            return True

    def _halt(self) -> None:
        try:
            self._command("halt")
        except CommandError as error:
            raise DeviceTimeoutError(
                "the core cannot be halted",
                where=self.name,
                found=str(error),
                hint="reset the device",
            ) from error

    def _command(self, text: str) -> str:
        return self._openocd.command(text, time.monotonic() + self.timeout_seconds)

    def _transfer(self, verb: str, address: int, size_bytes: int, text: str) -> None:
        try:
            self._command(text)
        except CommandError as error:
            if not self._answers():
                raise StreamClosedError(
                    "the probe has lost the core", where=self.name, found=str(error)
                ) from error
            raise AccessFaultError(
                f"the bus refuses to {verb} {size_bytes} bytes at {address:#010x}",
                where=self.name,
                found=str(error),
            ) from error

    def _answers(self) -> bool:
        """Whether it was the bus that failed, and not what leads to it."""
        try:
            self._command(f"read_memory {_CPUID:#x} 32 1" if self._cortex_m else "")
        except CommandError:
            return False
        return True

    def _register_command(self, name: str, text: str) -> str:
        try:
            return self._command(text)
        except CommandError as error:
            raise AccessFaultError(
                f"register {name} is out of reach", where=self.name, found=str(error)
            ) from error


def open_openocd(board: Board) -> OpenOcdAccess:
    """The core of a real board, behind its probe."""
    if not board.debug.openocd:
        raise InputError(
            "OpenOCD has no configuration for the board",
            where=board.name,
            expected="'openocd' in the table [debug] of its board.toml",
            hint="pyOCD may reach it" if board.debug.pyocd else "",
        )
    hint = f"connect the board's {board.probe} probe by USB; does another program hold it?"
    return OpenOcdAccess(board.debug.openocd, name=board.name, hint=hint)
