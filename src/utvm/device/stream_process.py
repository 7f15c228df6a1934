"""A byte stream to a process that we start: the native server, or QEMU with its UART.

In: a command; its standard input and output are the stream. Out: a ``ByteStream`` that owns the
process. The process has its own group, which is killed when the stream is closed, so nothing that
it started stays behind; on Linux it dies with us even if we are killed. What it wrote to standard
error is part of the error when it dies.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from utvm.device.child import child_ending, end_child, start_child
from utvm.device.session import StreamClosedError
from utvm.device.stream import FdStream
from utvm.support.errors import DeviceError
from utvm.support.text import printable

EXIT_SECONDS = 10.0  # a process that dies is gone a little after its streams


class ProcessStream(FdStream):
    """A running process. ``pid`` is for tests and debuggers."""

    def __init__(self, command: Sequence[str], folder: Path | None = None) -> None:
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        try:
            self._process = start_child(
                command,
                folder=folder,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
            )
        except OSError as error:
            self._stderr.close()
            raise DeviceError(
                "the program cannot be started",
                where=Path(command[0]).name,
                found=error.strerror or "",
            ) from error
        self.pid = self._process.pid
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        # FdStream closes its descriptors; the process object must not do that again.
        reader, writer = (os.dup(f.fileno()) for f in (self._process.stdout, self._process.stdin))
        self._process.stdin.close()
        self._process.stdout.close()
        super().__init__(reader, writer, Path(command[0]).name)

    def close(self) -> None:
        """Closes the pipes, kills the process and all it started, and waits for its end."""
        super().close()
        end_child(self._process)
        self._stderr.close()

    def ended(self, reason: str) -> StreamClosedError:
        """How the process ended; one that only closed its output is killed first."""
        found = child_ending(self._process, EXIT_SECONDS) or "it closed its output"
        end_child(self._process)
        if not self._stderr.closed:
            self._stderr.seek(0)
            said = _telling_line(self._stderr.read()[-16384:].decode("utf-8", "replace"))
            found += f", {said}" if said else ""
        return StreamClosedError("the program has ended", where=self.name, found=found)


def _telling_line(text: str) -> str:
    """The last line, or the last that says 'fatal': QEMU prints all registers behind that one."""
    lines = [line for line in text.splitlines() if line.strip()]
    fatal = [line for line in lines if "fatal" in line]
    return printable((fatal or lines)[-1], 200) if lines else ""
