"""Programs on QEMU boards: what comes back, and how every bad end is named.

The programs are hello.c, and small ones that fault, hang or talk too much. No test leaves a QEMU
behind: each looks for one that still holds its private folder's program.
"""

from __future__ import annotations

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
from tests.crt.programs import HERE, build, needs_qemu
from tests.device.test_toolchain import HELLO, STREAM, hello_output
from utvm.device import qemu
from utvm.device.elf import read_elf
from utvm.device.qemu import QemuResult, find_qemu, run_qemu
from utvm.support.errors import DeviceError, ToolchainError
from utvm.target.board import list_boards, load_board
from utvm.target.target import load_target

BOARD = "mps2_an386"
BOARDS = [name for name in list_boards() if load_board(name).run == "qemu"]
SPIN = "int main(void) { volatile int x = 1; while (x) { } return 0; }\n"


def compiled(text: str, folder: Path, board: str = BOARD) -> Path:
    (folder / "model.c").write_text(text)
    return build(folder / "model.c", board, "zig", folder)


def run(
    program: Path,
    stream: bytes = b"",
    board_name: str = BOARD,
    timeout_seconds: float = PATIENCE_SECONDS,
) -> QemuResult:
    board = load_board(board_name)
    needs_qemu(board)
    target = load_target(board.target)
    return run_qemu(read_elf(program), board, target, stream, timeout_seconds=timeout_seconds)


def processes(program: Path) -> list[int]:
    """The QEMUs that run ``program``, once they have taken the place of what started them."""
    listed = subprocess.run(
        ["ps", "-ewwo", "pid,args"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    lines = [line.split() for line in listed if f"-kernel {program}" in line]
    return [int(pid) for pid, name, *_ in lines if "qemu" in name]


def wait_for(condition: Callable[[], bool]) -> None:
    """Waits until something has happened that must happen, and fails when it does not."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def test_output_and_console_come_back(tmp_path: Path) -> None:
    text = (
        '#include "utvm/platform.h"\n'
        'int main(void) { utvm_platform_log("one\\ntwo\\n"); return 0; }\n'
    )
    assert run(compiled(text, tmp_path)) == QemuResult(b"", "one\ntwo\n")
    assert run(build(HELLO, BOARD, "zig", tmp_path), STREAM).output == hello_output()


@pytest.mark.parametrize("board", BOARDS)
def test_faults_are_named(board: str, tmp_path: Path) -> None:
    program = build(HERE / "fault_driver.c", board, "zig", tmp_path)
    with pytest.raises(DeviceError) as undefined:
        run(program, b"i", board)
    assert f"{board}: pc 0x" in str(undefined.value)
    assert "(main+0x" in str(undefined.value)
    assert "the program faulted; found utvm: fault at pc 0x" in str(undefined.value)
    with pytest.raises(DeviceError, match=r"the stack overflows; expected at most \d+ bytes"):
        run(program, b"s", board)
    with pytest.raises(DeviceError, match=r"the program exited with status 3$"):
        run(program, b"3", board)


def test_a_lock_up_is_named(tmp_path: Path) -> None:
    # The vector table of this board's programs lies where the other board has none.
    program = compiled("int main(void) { return 0; }\n", tmp_path, "nucleo_l4r5zi")
    with pytest.raises(DeviceError) as error:
        run(program)
    assert "mps2_an386: the processor locked up; found" in str(error.value)


def test_a_program_that_hangs_meets_its_deadline(tmp_path: Path) -> None:
    program = compiled(SPIN, tmp_path)
    with pytest.raises(DeviceError, match=r"mps2_an386: the program did not end within 1 s; hint"):
        run(program, timeout_seconds=1)
    assert processes(program) == []


def test_a_program_that_never_stops_talking_meets_it_too(tmp_path: Path) -> None:
    text = (
        '#include "utvm/platform.h"\nint main(void) { for (;;) { utvm_platform_log("bla\\n"); } }\n'
    )
    program = compiled(text, tmp_path)
    for seconds in (1, 10, 100):  # until it has begun to talk
        with pytest.raises(DeviceError, match=f"did not end within {seconds} s") as error:
            run(program, timeout_seconds=seconds)
        assert processes(program) == []
        if error.value.found:
            break
    assert error.value.found == "bla"


def test_a_killed_qemu_is_a_named_error(tmp_path: Path) -> None:
    program = compiled(SPIN, tmp_path)
    ended: list[DeviceError] = []

    def follow() -> None:
        with pytest.raises(DeviceError) as error:
            run(program)
        ended.append(error.value)

    needs_qemu(load_board(BOARD))
    thread = threading.Thread(target=follow)
    thread.start()
    wait_for(lambda: bool(processes(program)))
    os.kill(processes(program)[0], signal.SIGKILL)
    thread.join()
    assert "mps2_an386: QEMU died of signal SIGKILL" in str(ended[0])
    assert processes(program) == []


def test_an_interrupt_leaves_no_qemu(tmp_path: Path) -> None:
    program = compiled(SPIN, tmp_path)
    needs_qemu(load_board(BOARD))
    code = "from pathlib import Path; from tests.device.test_qemu import run; import sys;"
    root = Path(__file__).parents[2]
    process = subprocess.Popen(
        [sys.executable, "-c", code + "run(Path(sys.argv[1]))", str(program)],
        env={**os.environ, "PYTHONPATH": f"{root / 'src'}:{root}"},
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(lambda: bool(processes(program)))
    process.send_signal(signal.SIGINT)
    assert "KeyboardInterrupt" in process.communicate()[1]
    assert processes(program) == []


def test_a_missing_qemu_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    for target, text in (
        ("cortex-m4", "qemu-system-arm is not installed; hint: apt install qemu-system-arm"),
        ("riscv32imc", "qemu-system-riscv32 is not installed; hint: apt install qemu-system-misc"),
    ):
        with pytest.raises(ToolchainError) as error:
            find_qemu(load_target(target))
        assert str(error.value) == text


def test_a_qemu_that_does_not_start_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = compiled("int main(void) { return 0; }\n", tmp_path)
    (tmp_path / "qemu").write_text("not a program")
    monkeypatch.setattr(qemu, "find_qemu", lambda target: str(tmp_path / "qemu"))
    board = load_board(BOARD)
    with pytest.raises(DeviceError, match="mps2_an386: QEMU cannot be started; found Permission"):
        run_qemu(read_elf(program), board, load_target(board.target), b"")
