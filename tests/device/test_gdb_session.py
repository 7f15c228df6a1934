"""Sessions over QEMU's GDB stub: networks, faults and time-outs on every QEMU board.

The digits network runs on all of them kernel by kernel, on one as a whole, with the outputs that
LiteRT gives. microbit is too small to hold it in RAM, and gets a function that counts.
"""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import PATIENCE_SECONDS, REPOSITORY
from tests.device.test_gdb_qemu import BOARDS, open_board, qemu_pid, running
from utvm.device.crt import crt_include_dir
from utvm.device.memory_program import build_memory_program, read_memory_program
from utvm.device.memory_session import MemorySession, open_memory_session
from utvm.device.session import DeviceFaultError, DeviceTensor, StreamClosedError
from utvm.device.toolchain import find_toolchain
from utvm.driver.load import import_model, load_model
from utvm.driver.pipeline import compile_graph
from utvm.driver.session_network import SessionNetwork
from utvm.target.board import load_board
from utvm.target.target import load_target

DIGITS = REPOSITORY / "examples" / "digits"
LARGE = [name for name in BOARDS if load_board(name).memory("ram").size_bytes > 1 << 18]
SIGNATURE = (
    "const TVMValue *args, const int32_t *type_codes, int32_t num_args, TVMValue *ret_value, "
    "int32_t *ret_type_code, void *resource_handle"
)
UNUSED = (
    "(void)args; (void)type_codes; (void)num_args; (void)ret_value; (void)ret_type_code; "
    "(void)resource_handle;"
)
FUNCTIONS = ("count_up", "undefined", "wild", "endless", "deep")


def operators(arm: bool) -> str:
    """Functions that work, and that die in every way."""
    undefined = '__asm__ volatile("udf #0");' if arm else '__asm__ volatile("unimp");'
    bodies = {
        "count_up": "++*(volatile uint32_t *)((DLTensor *)args[0].v_handle)->data; return 0;",
        "undefined": f"{undefined} return 0;",
        # Above all that these machines have; microbit reads zeros there, but cannot run it.
        "wild": "((void (*)(void))(uintptr_t)0xE8000001u)(); return 0;",
        "endless": 'for (;;) { __asm__ volatile("nop"); } return 0;',
        "deep": "return sink(args) + deep_call(100000);",
    }
    head = '#include "utvm/runtime.h"\n'
    head += "int32_t deep_call(uint32_t n);\nint32_t sink(const void *p);\n"
    head += "__attribute__((noinline)) int32_t sink(const void *p) {\n"
    head += '  __asm__ volatile("" ::"r"(p) : "memory");\n  return 0;\n}\n'
    head += "__attribute__((noinline)) int32_t deep_call(uint32_t n) {\n"
    head += "  volatile uint32_t space[32];\n  space[n % 32] = n;\n"
    head += "  return n == 0 ? 0 : deep_call(n - 1) + sink((const void *)space);\n}\n"
    texts = [
        f"int32_t {name}({SIGNATURE});\nint32_t {name}({SIGNATURE}) {{ {UNUSED} {body} }}\n"
        for name, body in bodies.items()
    ]
    return head + "".join(texts)


def open_functions(board_name: str, folder: Path) -> MemorySession:
    """A session with the functions above."""
    access = open_board(board_name)
    board = load_board(board_name)
    target = load_target(board.target)
    (folder / "functions.c").write_text(operators(arm=board.port == "cortex_m"))
    program = build_memory_program(
        find_toolchain(None, target),
        target,
        board,
        [folder / "functions.c"],
        [crt_include_dir()],
        folder / "program.elf",
        keep=FUNCTIONS,
    )
    image = read_memory_program(program, board)
    return open_memory_session(access, image, board, timeout_seconds=PATIENCE_SECONDS)


def counter(session: MemorySession) -> DeviceTensor:
    """A number that starts as zero."""
    tensor = DeviceTensor(session.allocate(4), (1,), np.dtype(np.uint32))
    session.write(tensor.address, bytes(4))
    return tensor


def value(session: MemorySession, tensor: DeviceTensor) -> int:
    return int.from_bytes(session.read(tensor.address, 4), "little")


def check_network(
    model: Path, golden: Path, board_name: str, executor: str, rows: int, folder: Path
) -> None:
    access = open_board(board_name)
    board = load_board(board_name)
    target = load_target(board.target)
    compiled = compile_graph(import_model(load_model(model)), target, executor=executor)
    functions = compiled.functions
    for name, text in functions.sources.items():
        (folder / name).write_text(text, encoding="ascii")
    program = build_memory_program(
        find_toolchain(None, target),
        target,
        board,
        [folder / name for name in functions.sources if name.endswith(".c")],
        [folder, crt_include_dir()],
        folder / "program.elf",
        keep=[functions.registry],
    )
    image = read_memory_program(program, board)
    with open_memory_session(access, image, board, timeout_seconds=PATIENCE_SECONDS) as session:
        network = SessionNetwork(compiled, session)
        with np.load(golden) as data:
            inputs = tuple(data[f"in{k}"][:rows] for k in range(len(compiled.module.inputs)))
            for k, output in enumerate(network.run(inputs)):
                np.testing.assert_array_equal(output, data[f"out{k}"][:rows])
        assert session.statistics().calls == rows * len(network.steps)
        network.close()


@pytest.mark.parametrize(
    ("board_name", "executor"), [*((name, "host") for name in LARGE), ("mps2_an386", "aot")]
)
def test_digits(board_name: str, executor: str, tmp_path: Path) -> None:
    golden = DIGITS / "digits_test.npz"
    check_network(DIGITS / "digits.tflite", golden, board_name, executor, 5, tmp_path)


@pytest.mark.slow
def test_a_real_network(shared_models: Path, tmp_path: Path) -> None:
    folder = shared_models / "mlperf_ad01_int8"
    golden = folder / "golden.npz"
    check_network(folder / "model.tflite", golden, "mps2_an386", "host", 2, tmp_path)


@pytest.mark.parametrize("board_name", BOARDS)
def test_calls_are_made_and_counted(board_name: str, tmp_path: Path) -> None:
    with open_functions(board_name, tmp_path) as session:
        count_up, tensor = session.function("count_up"), counter(session)
        for _ in range(5):
            session.call(count_up, [tensor])
        assert value(session, tensor) == 5
        assert session.time(count_up, [tensor], repeat=2, number=10).number == 10
        assert value(session, tensor) == 25
        session.reset()
        tensor = counter(session)
        session.call(count_up, [tensor])
        assert value(session, tensor) == 1


FAULTS = {
    "undefined": ("usage fault", "illegal instruction", "hard fault"),
    "wild": ("memory management fault", "instruction access fault", "hard fault"),
    "deep": ("stack overflow",) * 3,
    "endless": ("watchdog",) * 3,
}


def family(board_name: str) -> int:
    """Which of the words above: a Cortex-M0 does not tell faults apart."""
    if load_board(board_name).port == "riscv":
        return 1
    return 2 if load_board(board_name).target == "cortex-m0" else 0


@pytest.mark.parametrize("board_name", BOARDS)
def test_faults_are_named_and_the_session_goes_on(board_name: str, tmp_path: Path) -> None:
    with open_functions(board_name, tmp_path) as session:
        count_up, tensor = session.function("count_up"), counter(session)
        for calls, (name, kinds) in enumerate(FAULTS.items(), 1):
            for seconds in (0.5, 5, 50) if name == "endless" else (PATIENCE_SECONDS,):
                session.timeout_seconds = seconds
                session.call(session.function(name), [tensor])
                with pytest.raises(DeviceFaultError, match=r"\w+: the device faulted") as error:
                    session.flush()
                fault = error.value.fault
                assert fault is not None
                if fault.name:  # else a busy machine had no time to begin
                    break
            assert error.value.where == f"call of {name}"
            assert (fault.name, fault.kind) == (name, kinds[family(board_name)])
            session.timeout_seconds = PATIENCE_SECONDS
            session.call(count_up, [tensor])
            assert value(session, tensor) == calls


def test_a_killed_qemu_is_named_and_reset_starts_anew(tmp_path: Path) -> None:
    with open_functions("mps2_an386", tmp_path) as session:
        session.call(session.function("endless"), [counter(session)])
        pid = qemu_pid()
        killer = threading.Timer(0.3, os.kill, (pid, signal.SIGKILL))
        killer.start()
        with pytest.raises(StreamClosedError, match="found signal SIGKILL"):
            session.flush()
        killer.join()
        assert not running(pid)
        session.reset()
        tensor = counter(session)
        session.call(session.function("count_up"), [tensor])
        assert value(session, tensor) == 1
