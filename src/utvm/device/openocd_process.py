"""A running OpenOCD and its Tcl port: commands go in, results or errors come out.

In: OpenOCD's arguments, which name the configuration of a probe and a chip. Out: ``OpenOcd``, which
runs commands one at a time, each with a deadline. The Tcl port is OpenOCD's standard input and
output, so nobody else can reach it, and OpenOCD ends when we do; its other servers are off. What
it says goes to a log in a private folder, which is also where files for ``load_image`` lie.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from utvm.device.session import DeviceTimeoutError, StreamClosedError
from utvm.device.stream_process import ProcessStream
from utvm.support.errors import DeviceError, ToolchainError
from utvm.support.interrupts import interrupts_held

START_SECONDS = 30.0  # looking for a probe, and for what is behind it
_CLOSE_SECONDS = 2.0
_END = b"\x1a"  # of a command and of its result
_VERSION = (0, 12)  # the first with read_memory, get_reg and set_reg
_LOG = "openocd.log"
_ERROR = re.compile(r"\bError: (?!.*adapter speed not implemented)(.*\S)")


class CommandError(Exception):
    """OpenOCD refused a command: with what it said. Callers know what that means."""


class OpenOcd:
    """The process. ``pid`` is for tests."""

    def __init__(self, arguments: Sequence[str], name: str) -> None:
        program = shutil.which("openocd")
        if program is None:
            raise ToolchainError("openocd is not installed", hint="apt install openocd")
        self.name = name
        self._stream: ProcessStream | None = None
        self._owed = 0  # results of commands that nobody waited for
        self._buffer = b""
        self._said = 0  # where in the log the last command begins
        self._folder = tempfile.TemporaryDirectory(
            prefix="utvm-openocd-", ignore_cleanup_errors=True
        )
        self._path = Path(self._folder.name)
        (self._path / _LOG).touch()
        ports = "gdb_port disabled; telnet_port disabled; tcl_port pipe"
        # In a folder of its own, what lies about where the user is cannot pass for configuration.
        command = (program, "-l", _LOG, "-c", ports, *arguments)
        with interrupts_held() as release:
            try:
                self._stream = ProcessStream(command, self._path)
                self.pid = self._stream.pid
                release()
                self._check_version()
            except BaseException:
                self._end()
                raise

    def command(self, text: str, deadline: float) -> str:
        """The result of a Tcl command; ``CommandError`` if it fails."""
        if self._stream is not None:
            self._said = (self._path / _LOG).stat().st_size
        # The Tcl port tells results from errors only if it is made to.
        answer = self._exchange(f"format {{%d %s}} [catch {{{text}}} result] $result", deadline)
        failed, _, result = answer.partition(" ")
        if failed == "0":
            return result
        raise CommandError((self.errors() or [_plain(result) or f"error {failed}"])[-1])

    def put_file(self, name: str, data: bytes) -> None:
        """A file for ``load_image``."""
        if self._stream is not None:
            (self._path / name).write_bytes(data)

    def get_file(self, name: str) -> bytes:
        """What ``dump_image`` has written."""
        return (self._path / name).read_bytes()

    def errors(self) -> list[str]:
        """What the log has of errors since the last command was sent, or since the start when
        there was none; first to last."""
        if self._stream is None:
            return []
        with (self._path / _LOG).open("rb") as log:
            log.seek(self._said)
            text = log.read().decode("utf-8", "replace")
        return [_plain(error) for error in _ERROR.findall(text)]

    def close(self) -> None:
        """Lets OpenOCD say goodbye to the probe, or kills it; may be called again."""
        deadline = time.monotonic() + _CLOSE_SECONDS
        if self._stream is not None:
            with contextlib.suppress(DeviceError):  # at the latest, its end
                self._stream.write(b"shutdown" + _END, deadline)
                while self._stream.read(deadline):
                    pass
        self._end()

    def _exchange(self, text: str, deadline: float) -> str:
        """Sends a command and waits for its result; late results of others are passed over."""
        stream = self._stream
        if stream is None:
            raise StreamClosedError("OpenOCD has been ended", where=self.name)
        try:
            stream.write(text.encode("ascii") + _END, deadline)
            self._owed += 1
            while self._owed > 1:
                self._result(stream, deadline)
            return self._result(stream, deadline)
        except StreamClosedError as error:
            found = ", ".join([error.found.partition(",")[0], *self.errors()[:1]])
            raise StreamClosedError("OpenOCD has ended", where=self.name, found=found) from error

    def _result(self, stream: ProcessStream, deadline: float) -> str:
        """The next result, whatever command it is of."""
        while _END not in self._buffer:
            data = stream.read(deadline)
            if not data:
                raise DeviceTimeoutError(
                    "OpenOCD does not answer",
                    where=self.name,
                    hint="the probe or the device hangs; reset it",
                )
            self._buffer += data
        result, _, self._buffer = self._buffer.partition(_END)
        self._owed -= 1
        return result.decode("utf-8", "replace")

    def _check_version(self) -> None:
        text = self._exchange("version", time.monotonic() + START_SECONDS)
        match = re.search(r"(\d+)\.(\d+)", text)
        if match is None or (int(match[1]), int(match[2])) < _VERSION:
            raise ToolchainError(
                "OpenOCD is too old",
                expected=f"version {_VERSION[0]}.{_VERSION[1]} or newer",
                found=_plain(text),
            )

    def _end(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None
        self._folder.cleanup()


def _plain(text: str) -> str:
    """One line of what OpenOCD says; quotes and slashes stay, since it tells of files."""
    return re.sub(r"[^ -~]+", " ", text).strip()[:200]
