"""A terminal and a pipe get different output; Ctrl-C leaves nothing half-written.

Each test starts a process: with a pseudo-terminal for its output, or to interrupt it. When to
interrupt is told by a file that appears, never by a clock.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import PATIENCE_SECONDS

pty = pytest.importorskip("pty", reason="needs pseudo-terminals")

ENVIRONMENT = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
ENVIRONMENT.pop("NO_COLOR", None)


def on_terminal(command: list[str], stream: str) -> str:
    """What ``command`` writes to ``stream`` when that is a terminal."""
    ours, theirs = os.openpty()
    chunks: list[bytes] = []

    def read() -> None:
        try:
            while chunk := os.read(ours, 65536):
                chunks.append(chunk)
        except OSError:  # how Linux says that the other side is closed
            pass

    reader = threading.Thread(target=read)
    reader.start()
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, stream: theirs}
    done = subprocess.run(command, env=ENVIRONMENT, check=False, **pipes)
    os.close(theirs)
    reader.join()
    os.close(ours)
    assert done.returncode == 0
    return b"".join(chunks).decode()


def test_terminal_gets_colour_and_blocks(command: tuple[str, ...], digits: Path) -> None:
    shown = on_terminal([*command, "run", str(digits)], "stdout")
    assert "\x1b[1m" in shown
    assert "█" in shown


def test_terminal_gets_progress(command: tuple[str, ...], digits: Path) -> None:
    shown = on_terminal([*command, "run", str(digits)], "stderr")
    assert "compiling for cortex-m7" in shown


def test_pipe_gets_plain_text(command: tuple[str, ...], digits: Path) -> None:
    done = subprocess.run(
        [*command, "run", str(digits)], env=ENVIRONMENT, capture_output=True, check=True
    )
    assert done.stderr == b""
    assert done.stdout.isascii() and b"\x1b" not in done.stdout


def test_closed_pipe_is_no_traceback(command: tuple[str, ...], digits: Path) -> None:
    process = subprocess.Popen(
        [*command, "inspect", str(digits)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    errors = process.stderr.read()
    process.stderr.close()
    assert process.wait(PATIENCE_SECONDS) == 1
    assert errors == b""


def interrupt_when(started: Path, command: list[str], folder: Path) -> tuple[int, str]:
    """Starts ``command``, presses Ctrl-C when ``started`` exists, returns exit code and stderr."""
    scratch = folder / "scratch"
    scratch.mkdir()
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "TMPDIR": str(scratch)},
    )
    end = time.monotonic() + PATIENCE_SECONDS
    while not started.exists() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.01)
    assert process.poll() is None, process.communicate()
    for _ in range(4):  # as one does when nothing happens: one just before a wait is not heard
        os.killpg(process.pid, signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            errors = process.communicate(timeout=PATIENCE_SECONDS / 4)[1]
            break
    code = process.returncode
    assert code is not None, "it goes on after Ctrl-C"
    assert list(scratch.iterdir()) == []
    return code, errors


def test_interrupt_while_compiling(command: tuple[str, ...], digits: Path, tmp_path: Path) -> None:
    compiler = tmp_path / "slow-gcc"
    started = tmp_path / "started"
    compiler.write_text(f"#!/bin/sh\ntouch {started}\nexec sleep 600\n", encoding="ascii")
    compiler.chmod(0o755)
    keep, output = tmp_path / "out" / "kept", tmp_path / "out" / "out.npz"
    arguments = ["run", digits, "--toolchain", compiler, "--keep", keep, "--output", output]
    code, errors = interrupt_when(started, [*command, *map(str, arguments)], tmp_path)
    assert code == 130
    assert errors.strip() == "utvm: interrupted"
    assert not keep.parent.exists()


def test_interrupt_while_running(command: tuple[str, ...], digits: Path, tmp_path: Path) -> None:
    # So many that they are not done when Ctrl-C comes, however late we look for what is kept.
    np.savez(tmp_path / "many.npz", in0=np.zeros((400_000, 1, 8, 8, 1), np.int8))
    keep, output = tmp_path / "out" / "kept", tmp_path / "out" / "out.npz"
    arguments = ["--input", tmp_path / "many.npz", "--keep", keep, "--output", output]
    code, errors = interrupt_when(
        keep, [*command, "run", str(digits), *map(str, arguments)], tmp_path
    )
    assert code == 130
    assert errors.strip() == "utvm: interrupted"
    assert [path.name for path in keep.parent.iterdir()] == ["kept"]
    assert (keep / "model.elf").exists() and not (keep / "outputs.npz").exists()


def test_interrupt_while_tuning(command: tuple[str, ...], digits: Path, tmp_path: Path) -> None:
    records = tmp_path / "records.jsonl"
    arguments = ["tune", str(digits), "--target", "cortex-m4", "--records", str(records)]
    code, errors = interrupt_when(
        records, [*command, *arguments, "--devices", "emulator"], tmp_path
    )
    assert code == 130
    assert "Traceback" not in errors
    assert records.read_bytes() == b"" or records.read_bytes().endswith(b"\n")
