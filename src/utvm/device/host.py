"""Running a native program: bytes in on standard input, bytes out on standard output.

In goes the program's path and its input stream, out comes its output stream. A program that exits
with a status, dies of a signal or takes too long is a ``DeviceError``. The program never outlives
the call, whatever ends it.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from utvm.device.child import Child, child_ending, end_child, start_child
from utvm.support.errors import DeviceError
from utvm.support.interrupts import interrupts_held
from utvm.support.text import printable


def run_host(exe: Path, stdin: bytes, *, timeout_seconds: float = 600) -> bytes:
    """The standard output of ``exe``, fed with ``stdin``."""
    with interrupts_held() as release:
        try:
            child = start_child(
                [str(exe.resolve())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        except OSError as error:
            raise DeviceError(
                "the program cannot be started", where=exe.name, found=error.strerror or ""
            ) from error
        try:
            release()
            output, errors = child.communicate(stdin, timeout_seconds)
        except subprocess.TimeoutExpired as error:
            raise DeviceError(
                f"the program did not end within {timeout_seconds:g} s",
                where=exe.name,
                hint="an endless loop, or too slow for this machine",
            ) from error
        finally:
            end_child(child)
    if child.returncode != 0:
        raise DeviceError(_ending(child), where=exe.name, found=_last_line(errors))
    return output


def _ending(child: Child) -> str:
    how = child_ending(child, 0)
    return f"the program {'died of' if how.startswith('signal') else 'exited with'} {how}"


def _last_line(stderr: bytes) -> str:
    lines = stderr.decode("utf-8", "replace").strip().splitlines()
    return printable(lines[-1], 200) if lines else ""
