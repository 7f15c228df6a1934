"""Native programs: what they print comes back, and every way to fail has its message."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from utvm.device.host import run_host
from utvm.support.errors import DeviceError


def script(folder: Path, text: str) -> Path:
    """An executable shell script; it stands for a compiled program."""
    path = folder / "program"
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)
    return path


def test_bytes_go_through(tmp_path: Path) -> None:
    data = bytes(range(256)) * 1000
    assert run_host(script(tmp_path, "cat\n"), data) == data


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "echo first >&2; echo last >&2; exit 3\n",
            "program: the program exited with status 3; found last",
        ),
        ("kill -SEGV $$\n", "program: the program died of signal SIGSEGV"),
        ("kill -ABRT $$\n", "program: the program died of signal SIGABRT"),
    ],
)
def test_a_failing_program_is_an_error(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DeviceError) as error:
        run_host(script(tmp_path, text), b"")
    assert str(error.value) == message


def test_a_program_that_hangs_is_killed(tmp_path: Path) -> None:
    started = tmp_path / "pid"
    program = script(tmp_path, f"echo $$ > {started}.new; mv {started}.new {started}; sleep 1000\n")
    for seconds in (0.5, 5, 50):  # until it has begun
        with pytest.raises(DeviceError, match=f"within {seconds:g} s; hint: an endless loop"):
            run_host(program, b"", timeout_seconds=seconds)
        if started.exists():
            break
    with pytest.raises(ProcessLookupError):
        os.kill(int(started.read_text()), 0)


def test_a_missing_program_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=r"cannot be started; found No such file"):
        run_host(tmp_path / "none", b"")
