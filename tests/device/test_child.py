"""Processes that we start end with us, whatever ends us, and are not lost on the way.

Where we are to be killed, "we" are a Python process that starts the child, says its number and
waits. What the kernel promises on Linux only is tested there only.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import PATIENCE_SECONDS
from tests.crt.programs import needs_qemu
from tests.device.test_qemu import SPIN, compiled, processes
from utvm.device import child
from utvm.device.child import child_ending, end_child, start_child
from utvm.device.session import StreamClosedError
from utvm.device.stream_process import ProcessStream
from utvm.target.board import load_board

SLEEP = ("sleep", "1000")
ROOT = Path(__file__).parents[2]
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's PR_SET_PDEATHSIG")

_PROCESS = "from utvm.device.stream_process import ProcessStream; c = ProcessStream(%r);"
_CHILD = "from utvm.device.child import start_child; c = start_child(%r);"
_QEMU_ACCESS = (
    "from utvm.device.memory_gdb import open_qemu_access; from utvm.target.board import load_board;"
    "from utvm.target.target import load_target; b = load_board('mps2_an386');"
    "a = open_qemu_access(b, load_target(b.target)); c = a._remote._stream;"
)


def running(pid: int) -> bool:
    """Whether the process runs; one that has ended may wait for somebody to ask for its status."""
    shown = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True)
    return shown.stdout.strip()[:1] not in ("", "Z", "X")


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def start_killable(code: str) -> tuple[subprocess.Popen[str], int]:
    """A process that has run ``code`` and waits, and the number of its child ``c``."""
    process = subprocess.Popen(
        [sys.executable, "-c", code + "print(c.pid, flush=True); import time; time.sleep(1000)"],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    assert running(pid)
    return process, pid


@LINUX
@pytest.mark.parametrize("code", [_CHILD % (SLEEP,), _PROCESS % (SLEEP,), _QEMU_ACCESS])
def test_children_die_when_we_are_killed(code: str) -> None:
    needs_qemu(load_board("mps2_an386"))
    process, pid = start_killable(code)
    process.kill()
    process.communicate()
    wait_for(lambda: not running(pid))


@LINUX
def test_a_run_on_qemu_dies_when_we_are_killed(tmp_path: Path) -> None:
    needs_qemu(load_board("mps2_an386"))
    program = compiled(SPIN, tmp_path)
    code = "import sys; from pathlib import Path; from tests.device.test_qemu import run;"
    process = subprocess.Popen(
        [sys.executable, "-c", code + "run(Path(sys.argv[1]))", str(program)],
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"},
    )
    wait_for(lambda: bool(processes(program)))
    (pid,) = processes(program)
    process.kill()
    process.wait()
    wait_for(lambda: not running(pid))


@LINUX
def test_a_child_outlives_the_thread_that_asked_for_it() -> None:
    started: list[child.Child] = []
    thread = threading.Thread(target=lambda: started.append(start_child(SLEEP)))
    thread.start()
    thread.join()
    try:
        # The kernel would have sent the signal before join came back.
        assert child_ending(started[0], 0.2) == ""
    finally:
        end_child(started[0])
    assert child_ending(started[0], 0) == "signal SIGKILL"


@LINUX
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # newer Pythons: fork with threads
def test_a_forked_copy_of_us_starts_children_too() -> None:
    end_child(start_child(SLEEP))
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    forked = context.Process(target=_start_and_tell, args=(queue,))
    forked.start()
    assert queue.get(timeout=PATIENCE_SECONDS) == "status 0"
    forked.join()


def _start_and_tell(queue: multiprocessing.Queue[str]) -> None:
    queue.put(child_ending(start_child(("true",)), PATIENCE_SECONDS))


def test_what_it_started_ends_with_it(tmp_path: Path) -> None:
    script = f"{' '.join(SLEEP)} & echo $! > {tmp_path}/pid; wait"
    started = start_child(("sh", "-c", script))
    wait_for(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text() != "")
    grandchild = int((tmp_path / "pid").read_text())
    assert running(grandchild)
    end_child(started)
    end_child(started)
    wait_for(lambda: not running(grandchild))


def test_an_interrupt_during_the_start_ends_the_child(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[child.Child] = []
    popen = subprocess.Popen

    def interrupted(*arguments: object, **options: object) -> child.Child:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        started.append(popen(*arguments, **options))  # type: ignore[call-overload]
        return started[0]

    monkeypatch.setattr(subprocess, "Popen", interrupted)
    with pytest.raises(KeyboardInterrupt):
        start_child(SLEEP)
    assert child_ending(started[0], 0) == "signal SIGKILL"
    monkeypatch.undo()
    end_child(start_child(SLEEP))  # the thread that starts children goes on


def test_a_child_in_our_group_ends_alone() -> None:
    started = start_child(SLEEP, own_group=False)
    assert os.getpgid(started.pid) == os.getpgrp()
    end_child(started)  # the group would be ours
    assert child_ending(started, 0) == "signal SIGKILL"


def test_a_program_that_cannot_be_started_is_an_os_error(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("no program")
    with pytest.raises(FileNotFoundError):
        start_child((str(tmp_path / "nothing"),))
    with pytest.raises(PermissionError):
        start_child((str(plain),))


@LINUX
def test_a_child_gets_the_usual_signals_and_no_stray_files() -> None:
    started = start_child(
        ("sh", "-c", "grep SigIgn /proc/self/status; ls /proc/$$/fd"), stdout=subprocess.PIPE
    )
    assert started.stdout is not None
    said = started.stdout.read().decode().split()
    end_child(started)
    ignored = int(said[1], 16)
    for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT):
        assert not ignored >> (number - 1) & 1
    assert said[2:] == ["0", "1", "2"]


def test_endings_are_named() -> None:
    started = start_child(("sh", "-c", "exit 3"))
    assert child_ending(started, PATIENCE_SECONDS) == "status 3"
    end_child(started)


def test_without_the_launcher_children_start_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    started = start_child(SLEEP)
    assert running(started.pid)
    end_child(started)
    with pytest.raises(FileNotFoundError):
        start_child(("/nothing/here",))


def test_the_telling_line_of_a_dead_program_is_in_the_error() -> None:
    script = "echo first >&2; echo 'qemu: fatal: Lockup' >&2; echo R00=0 >&2; exit 1"
    stream = ProcessStream(("sh", "-c", script))
    with pytest.raises(StreamClosedError) as error:
        stream.read(time.monotonic() + PATIENCE_SECONDS)
    stream.close()
    assert str(error.value) == ("sh: the program has ended; found status 1, qemu: fatal: Lockup")
