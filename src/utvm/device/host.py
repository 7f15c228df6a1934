"""Running a native program: bytes in on standard input, bytes out on standard output.

In goes the program's path and its input stream, out comes its output stream. A program that exits
with a status, dies of a signal or takes too long is a ``DeviceError``. The program never outlives
the call, whatever ends it.
"""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

from utvm.support.errors import DeviceError
from utvm.support.text import printable


def run_host(exe: Path, stdin: bytes, *, timeout_seconds: float = 600) -> bytes:
    """The standard output of ``exe``, fed with ``stdin``."""
    try:
        # run() kills the program when it leaves by an exception: a time-out or an interrupt.
        done = subprocess.run(
            [str(exe.resolve())],
            input=stdin,
            capture_output=True,
            timeout=timeout_seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise DeviceError(
            f"the program did not end within {timeout_seconds:g} s",
            where=exe.name,
            hint="an endless loop, or too slow for this machine",
        ) from error
    except OSError as error:
        raise DeviceError(
            "the program cannot be started", where=exe.name, found=error.strerror or ""
        ) from error
    if done.returncode != 0:
        raise DeviceError(_ending(done.returncode), where=exe.name, found=_last_line(done.stderr))
    return done.stdout


def _ending(status: int) -> str:
    if status >= 0:
        return f"the program exited with status {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = str(-status)
    return f"the program died of signal {name}"


def _last_line(stderr: bytes) -> str:
    lines = stderr.decode("utf-8", "replace").strip().splitlines()
    return printable(lines[-1], 200) if lines else ""
