"""Memory access through pyOCD: ST-Link, CMSIS-DAP and J-Link probes, and pyOCD's probe server.

In: pyOCD's name of the target (``cortex_m`` fits all), and the probe's unique id where several are
connected; ``remote:HOST:PORT`` is a probe behind pyOCD's server. Out: a ``MemoryAccess``. pyOCD
works in a process of its own (pyocd_worker.py), which is killed when an answer stays out: then the
access is over. A run that misses its deadline halts the core, and the access goes on.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from utvm.device.child import child_ending, end_child, start_child
from utvm.device.memory_access import AccessFaultError
from utvm.device.session import DeviceTimeoutError, StreamClosedError
from utvm.support.errors import DeviceError, InputError, ToolchainError
from utvm.support.interrupts import interrupts_held
from utvm.support.text import printable

CLOCK_HZ = 4_000_000
CONNECT_SECONDS = 30.0  # pyOCD looks for all kinds of probes
_WORKER = Path(__file__).with_name("pyocd_worker.py")
_BLOCK_BYTES = 16384  # per request: each has its own time
_CLOSE_SECONDS = 5.0
_ENDING_SECONDS = 10.0
_USB_HINT = "plug the probe in; on Linux its udev rules must let you use it; see `pyocd list`"


class PyOcdAccess:
    """A core behind a probe that pyOCD knows; ``timeout_seconds`` bounds each access but ``run``.

    ``pid`` is the worker's, for tests.
    """

    def __init__(
        self,
        target: str = "cortex_m",
        *,
        probe: str = "",
        name: str = "pyOCD",
        clock_hz: int = CLOCK_HZ,
        timeout_seconds: float = 10.0,
        connect_seconds: float = CONNECT_SECONDS,
    ) -> None:
        self.name = name
        self.timeout_seconds = timeout_seconds  # for an answer of the probe
        self._buffer = b""
        self._open = False
        self._folder = tempfile.TemporaryDirectory(prefix="utvm-pyocd-", ignore_cleanup_errors=True)
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        with interrupts_held() as release:
            # -P: the modules beside the script must not hide those of others.
            self._process = start_child(
                [sys.executable, "-P", str(_WORKER)],
                folder=Path(self._folder.name),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
            )
            self.pid = self._process.pid
            self._open = True
            try:
                release()
                request = {"target": target, "probe": probe, "clock_hz": clock_hz}
                answer = self._ask("connect", connect_seconds, **request, folder=self._folder.name)
                self.name = f"{name} ({printable(answer['probe'])})"
            except BaseException:
                self._end()
                raise

    def read(self, address: int, size_bytes: int) -> bytes:
        """See ``MemoryAccess``."""
        parts = []
        for at, size in _blocks(address, size_bytes):
            answer = self._ask("read", self.timeout_seconds, address=at, size_bytes=size)
            parts.append(bytes.fromhex(answer["data"]))
        return b"".join(parts)

    def write(self, address: int, data: bytes) -> None:
        """See ``MemoryAccess``."""
        for at, size in _blocks(address, len(data)):
            part = data[at - address : at - address + size]
            self._ask("write", self.timeout_seconds, address=at, data=part.hex())

    def register(self, name: str) -> int:
        """See ``MemoryAccess``."""
        return int(self._ask("register", self.timeout_seconds, name=name)["value"])

    def set_register(self, name: str, value: int) -> None:
        """See ``MemoryAccess``."""
        self._ask("set_register", self.timeout_seconds, name=name, value=value & 0xFFFFFFFF)

    def run(self, stop: int, deadline: float) -> None:
        """See ``MemoryAccess``."""
        seconds = max(0.0, deadline - time.monotonic())
        # The core whose time is up is still to be halted.
        self._ask("run", seconds + self.timeout_seconds, stop=stop, seconds=seconds)

    def reset(self) -> None:
        """See ``MemoryAccess``."""
        self._ask("reset", self.timeout_seconds)

    def close(self) -> None:
        """See ``MemoryAccess``. The core stays halted."""
        if self._open:
            try:
                self._ask("close", _CLOSE_SECONDS)
            except DeviceError:
                pass  # a probe that is gone cannot be told
            finally:
                self._end()

    def _end(self) -> None:
        self._open = False
        end_child(self._process)
        self._errors.close()
        self._folder.cleanup()

    def _ask(self, action: str, seconds: float, /, **operands: Any) -> dict[str, Any]:
        """The worker's answer. One that stays out, or an interrupt, ends the access."""
        if not self._open:
            raise StreamClosedError("the connection to the probe is closed", where=self.name)
        deadline = time.monotonic() + seconds
        try:
            line = self._exchange(json.dumps({"do": action, **operands}), deadline)
        except BrokenPipeError:
            line = b""
        except BaseException:
            self._end()
            raise
        if not line:
            raise self._ended()
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise self._error(answer["error"], printable(answer["text"], 200))
        return answer

    def _exchange(self, request: str, deadline: float) -> bytes:
        """One line of the worker; empty when it has ended."""
        reader, writer = self._process.stdout, self._process.stdin
        assert reader is not None
        assert writer is not None
        rest = request.encode() + b"\n"
        while rest:
            self._wait([], [writer], deadline)
            rest = rest[os.write(writer.fileno(), rest[: select.PIPE_BUF]) :]
        while b"\n" not in self._buffer:
            self._wait([reader], [], deadline)
            part = os.read(reader.fileno(), 65536)
            if not part:
                return b""
            self._buffer += part
        line, self._buffer = self._buffer.split(b"\n", 1)
        return line

    def _wait(self, readers: list[Any], writers: list[Any], deadline: float) -> None:
        seconds = max(0.0, deadline - time.monotonic())
        if not any(select.select(readers, writers, [], seconds)):
            raise DeviceTimeoutError(
                "the debug probe does not answer",
                where=self.name,
                hint="check its cable; connect again",
            )

    def _ended(self) -> StreamClosedError:
        """How the worker has ended; what it wrote last."""
        found = child_ending(self._process, _ENDING_SECONDS) or "it closed its output"
        self._errors.seek(0)
        lines = self._errors.read()[-2000:].decode("utf-8", "replace").strip().splitlines()
        found += f", {printable(lines[-1], 200)}" if lines else ""
        self._end()
        return StreamClosedError("pyOCD has ended", where=self.name, found=found)

    def _error(self, kind: str, text: str) -> Exception:
        match kind:
            case "missing":
                hint = "pip install pyocd"
                return ToolchainError("pyOCD is not installed", found=text, hint=hint)
            case "none":
                return DeviceError("no debug probe is connected", where=self.name, hint=_USB_HINT)
            case "several":
                hint = "name one of them"
                return InputError("several debug probes are connected", found=text, hint=hint)
            case "fault":
                return AccessFaultError("the access failed", where=self.name, found=text)
            case "stopped":
                return AccessFaultError(
                    "the core has stopped elsewhere", where=self.name, found=text
                )
            case "lockup":
                return AccessFaultError("the core has locked up", where=self.name)
            case "timeout":
                return DeviceTimeoutError(
                    "the program did not stop in time", where=self.name, found=text
                )
            case "lost":
                hint = "check its cable, and that nothing else uses it"
                self._end()
                return StreamClosedError(
                    "the connection to the debug probe is lost",
                    where=self.name,
                    found=text,
                    hint=hint,
                )
        return DeviceError("pyOCD refuses", where=self.name, found=text)


def _blocks(address: int, size_bytes: int) -> list[tuple[int, int]]:
    """Address and size of the parts of a range."""
    end = address + size_bytes
    starts = range(address, end, _BLOCK_BYTES)
    return [(start, min(_BLOCK_BYTES, end - start)) for start in starts]
