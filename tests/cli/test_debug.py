"""``utvm debug``: what gdb sees, at a terminal and without one, and how mistakes are told."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.cli.conftest import Utvm
from tests.conftest import PATIENCE_SECONDS
from tests.crt.programs import needs_qemu
from utvm.device.elf import read_elf
from utvm.device.qemu import find_qemu
from utvm.driver import debug
from utvm.driver.build import build_model
from utvm.driver.debug import DebugRequest, plan_debug, resolve_debug_options, run_batch
from utvm.driver.load import load_model
from utvm.support.errors import DeviceError, UtvmError
from utvm.target.board import list_boards, load_board

BOARDS = [name for name in list_boards() if load_board(name).run == "qemu"]
FRAME = re.compile(r"^#(\d+) +(?:0x[0-9a-f]+ in )?(\w+) \(.* at \./([\w.]+:\d+)$", re.M)


@pytest.fixture(autouse=True)
def needs_gdb() -> None:
    if shutil.which("gdb-multiarch") is None:
        pytest.skip("needs gdb-multiarch")
    needs_qemu(load_board("mps2_an386"))


def frames(text: str) -> list[str]:
    """The functions of a backtrace, from the innermost."""
    return [name for _, name, _ in FRAME.findall(text)]


@pytest.mark.parametrize("board", BOARDS)
def test_it_stops_at_the_first_operator(utvm: Utvm, digits: Path, board: str) -> None:
    needs_qemu(load_board(board))
    done = utvm("debug", digits, "--board", board, "--batch", "--json")
    assert done.code == 0, done.err
    shown = json.loads(done.out)
    assert (shown["operator"], shown["symbol"]) == ("conv2d_0", "tvmgen_digits_conv2d_0")
    assert frames(shown["output"]) == ["tvmgen_digits_conv2d_0", "tvmgen_digits_run", "main"]


@pytest.mark.parametrize("toolchain", ["zig", "gcc"])
@pytest.mark.parametrize("executor", ["aot", "graph"])
def test_it_stops_at_a_named_operator(
    utvm: Utvm, digits: Path, executor: str, toolchain: str
) -> None:
    if toolchain == "gcc" and shutil.which("arm-none-eabi-gcc") is None:
        pytest.skip("needs arm-none-eabi-gcc")
    options = ["--executor", executor, "--toolchain", toolchain, "--board", "mps2_an386"]
    done = utvm("debug", digits, *options, "--break", "dense_6", "--batch")
    assert done.code == 0, done.err
    seen = frames(done.out)
    assert seen[0] == "tvmgen_digits_dense_6"
    assert seen[-1] == "main"
    assert ("TVMGraphRuntime_Run" in seen) == (executor == "graph")


def test_sources_are_found_and_commands_are_done(utvm: Utvm, digits: Path) -> None:
    commands = ["list tvmgen_digits_run", "list startup_run", "delete", "continue"]
    options = [part for command in commands for part in ("--command", command)]
    done = utvm("debug", digits, "--board", "mps2_an386", "--batch", *options)
    assert done.code == 0, done.err
    assert "tvmgen_digits_conv2d_0(inputs" in done.out
    assert "utvm_platform_exit(main());" in done.out
    assert "[Inferior 1 (process 1) exited normally]" in done.out


def test_inputs_are_the_given_ones(utvm: Utvm, digits: Path, digits_rows: Path) -> None:
    options = ["--board", "mps2_an386", "--input", digits_rows]
    done = utvm("debug", digits, *options, "--batch", "--command", "print/d input0[20]@4", "--json")
    with np.load(digits_rows) as stored:
        expected = ", ".join(str(value) for value in stored["in0"][0].reshape(-1)[20:24])
    assert done.code == 0, done.err
    assert f"= {{{expected}}}" in json.loads(done.out)["output"]


def test_a_target_takes_its_qemu_board(utvm: Utvm, digits: Path) -> None:
    shown = json.loads(utvm("debug", digits, "--target", "cortex-m33", "--json").out)
    assert (shown["board"], shown["target"]) == ("mps2_an521", "cortex-m33")
    assert shown["output"] is None
    assert shown["commands"][-2:] == ["break tvmgen_digits_conv2d_0", "continue"]
    assert shown["gdb"][0].endswith("gdb-multiarch")
    assert json.loads(utvm("debug", digits, "--json").out)["board"] == "mps2_an500"


def test_symbols_change_no_code(digits: Path, tmp_path: Path) -> None:
    options = resolve_debug_options(None, "mps2_an386", "aot", None)
    with_symbols = plan_debug(DebugRequest(digits, options), tmp_path).image
    (tmp_path / "plain").mkdir()
    plain = build_model(load_model(digits), options, tmp_path / "plain").image
    assert plain is not None
    assert [segment.data for segment in with_symbols.segments] == [
        segment.data for segment in plain.segments
    ]
    assert ".debug_info" in {section.name for section in read_elf(with_symbols.path).sections}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--board", "emu_cortex_m4"],
            "emu_cortex_m4: debugging needs a board that QEMU emulates; "
            "hint: --board mps2_an386 has the same core",
        ),
        (
            ["--target", "cortex-m0plus"],
            "emu_cortex_m0plus: debugging needs a board that QEMU emulates; "
            f"hint: none has the same core; there are {', '.join(BOARDS)}",
        ),
        (
            ["--break", "dense_7"],
            "unknown operator 'dense_7'; expected one of conv2d_0, depthwise_conv2d_1, conv2d_2, "
            "avg_pool2d_3, conv2d_4, avg_pool2d_5, dense_6, softmax_table_7; "
            "hint: did you mean 'dense_6'?",
        ),
        (
            ["--gdb", "no-gdb"],
            "no program 'no-gdb' is installed; hint: apt install gdb-multiarch",
        ),
        (
            ["--batch", "--command", "nonsense"],
            "mps2_an500: gdb ended with status 1; "
            "found Undefined command: _nonsense_.  Try _help_.",
        ),
    ],
)
def test_mistakes_are_one_line(utvm: Utvm, digits: Path, options: list[str], message: str) -> None:
    done = utvm("debug", digits, *options)
    assert (done.code, done.err) == (1, f"utvm: error: {message}\n")


def test_a_mistake_is_told_though_qemu_goes_too(utvm: Utvm, digits: Path) -> None:
    # gdb leaves with an error, kills the program, and may say as well that it lost QEMU.
    commands = ["--command", r"echo Remote communication error\n", "--command", "nonsense"]
    done = utvm("debug", digits, "--board", "mps2_an386", "--batch", *commands)
    assert (done.code, done.err.count("Undefined command: _nonsense_")) == (1, 1)


def test_commands_need_batch(utvm: Utvm, digits: Path) -> None:
    done = utvm("debug", digits, "--command", "info line")
    assert done.code == 2
    assert "--command needs --batch" in done.err


def test_no_gdb_at_all(utvm: Utvm, digits: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    qemu = find_qemu(debug.load_target("cortex-m7"))
    monkeypatch.setattr(debug, "find_qemu", lambda target: qemu)
    monkeypatch.setenv("PATH", "")
    assert utvm("debug", digits).err == (
        "utvm: error: no gdb for the board's processor is installed; "
        "expected gdb-multiarch or arm-none-eabi-gdb; hint: apt install gdb-multiarch\n"
    )


def test_a_script_without_end_meets_its_deadline(digits: Path, tmp_path: Path) -> None:
    options = resolve_debug_options(None, "mps2_an386", "aot", None)
    plan = plan_debug(DebugRequest(digits, options), tmp_path)
    with pytest.raises(DeviceError, match=r"mps2_an386: gdb did not end within 2 s; hint"):
        run_batch(plan, ["delete", "set {short}$pc = 0xe7fe", "continue"], timeout_seconds=2)
    assert of_folder(tmp_path) == []


def test_a_model_that_does_not_fit_is_named(utvm: Utvm, shared_models: Path) -> None:
    model = shared_models / "mlperf_resnet8_int8" / "model.tflite"
    done = utvm("debug", model, "--board", "microbit", "--json")
    assert done.code == 1
    assert json.loads(done.out)["error"]["kind"] == "MemoryLimitError"
    assert issubclass(DeviceError, UtvmError)


# At a terminal


class Terminal:
    """A command with a terminal of its own, where Ctrl-C does what it does."""

    def __init__(self, command: list[str]) -> None:
        self._ours, theirs = os.openpty()
        self.shown = ""
        self.process = subprocess.Popen(
            ["setsid", "-c", "-w", *command], stdin=theirs, stdout=theirs, stderr=theirs,
            env={**os.environ, "TERM": "dumb"},
        )  # fmt: skip
        os.close(theirs)
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        try:
            while chunk := os.read(self._ours, 65536):
                self.shown += chunk.decode("utf-8", "replace")
        except OSError:  # how Linux says that the other side is closed
            pass

    def wait_for(self, text: str) -> None:
        end = time.monotonic() + PATIENCE_SECONDS
        while text not in self.shown:
            assert time.monotonic() < end, self.shown
            assert self._reader.is_alive(), self.shown
            time.sleep(0.02)

    def write(self, text: str) -> None:
        self.shown = ""
        os.write(self._ours, text.encode())

    def close(self) -> int:
        code = self.process.wait(PATIENCE_SECONDS)
        self._reader.join(PATIENCE_SECONDS)
        os.close(self._ours)
        return code


@pytest.fixture
def terminal(command: tuple[str, ...], digits: Path) -> Iterator[Terminal]:
    if shutil.which("setsid") is None:
        pytest.skip("needs setsid of util-linux")
    opened = Terminal([*command, "debug", str(digits), "--board", "mps2_an386"])
    yield opened
    if opened.process.poll() is None:
        opened.process.kill()


def of_folder(folder: Path | str) -> list[int]:
    """Running processes whose command line names ``folder``."""
    listed = subprocess.run(["ps", "-ewwo", "pid,stat,args"], capture_output=True, text=True).stdout
    lines = [line.split(None, 2) for line in listed.splitlines() if str(folder) in line]
    return [int(pid) for pid, state, _ in lines if not state.startswith("Z")]


def debug_folder(text: str) -> str:
    """The folder of a session, from the file name that gdb shows for the running program."""
    found = re.search(r"\S*utvm-debug-\w+", text)
    assert found is not None
    return found[0].strip('"')


def test_ctrl_c_goes_to_gdb(terminal: Terminal) -> None:
    terminal.wait_for("(gdb) ")
    assert "conv2d_0 is tvmgen_digits_conv2d_0; leave gdb with quit" in terminal.shown
    terminal.write("info files\n")
    terminal.wait_for("(gdb) ")
    folder = debug_folder(terminal.shown)
    assert len(of_folder(folder)) >= 2
    for line in ("delete", "set {short}$pc = 0xe7fe"):  # b .
        terminal.write(f"{line}\n")
        terminal.wait_for("(gdb) ")
    for _ in range(20):  # what comes before the program runs again only ends the command
        terminal.write("continue\n")
        terminal.wait_for("Continuing.")
        terminal.write("\x03")
        terminal.wait_for("(gdb) ")
        if "Program received signal SIGINT" in terminal.shown:
            break
    assert "Program received signal SIGINT" in terminal.shown
    terminal.write("quit\n")
    assert terminal.close() == 0
    assert of_folder(folder) == []
    assert not Path(folder).exists()


def test_nothing_is_left_when_we_are_killed(terminal: Terminal) -> None:
    terminal.wait_for("(gdb) ")
    terminal.write("info files\n")
    terminal.wait_for("(gdb) ")
    folder = debug_folder(terminal.shown)
    children = of_folder(folder)
    ours = {int(parent_of(pid)) for pid in children}
    assert len(children) == 2 and len(ours) == 1
    os.kill(ours.pop(), signal.SIGKILL)
    terminal.close()
    wait_for(lambda: of_folder(folder) == [])
    shutil.rmtree(folder)  # which a killed process leaves behind


def parent_of(pid: int) -> str:
    return subprocess.run(
        ["ps", "-o", "ppid=", "-p", str(pid)], capture_output=True, text=True
    ).stdout


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
