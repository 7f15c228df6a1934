"""Sessions over pyOCD with the virtual chip: networks, faults, a server that goes away.

The programs are those of a nucleo_f746zg. mlperf_ad01 does not fit into its SRAM: it runs where
that and the data TCM below it are one memory, as their addresses are on the chip, with constants
that take no more room than the model's own.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import PATIENCE_SECONDS, REPOSITORY
from tests.probe.pyocd_server import PyOcdServer
from tests.probe.test_pyocd import gone
from tests.probe.virtual_chip import DTCM, FLASH, virtual_chip
from utvm.device.crt import crt_include_dir
from utvm.device.memory_program import build_memory_program, read_memory_program
from utvm.device.memory_pyocd import PyOcdAccess
from utvm.device.memory_session import MemorySession, open_memory_session
from utvm.device.session import DeviceError, DeviceFaultError, DeviceTensor
from utvm.device.toolchain import find_toolchain
from utvm.driver.build import build_model
from utvm.driver.load import load_model
from utvm.driver.options import BuildOptions, resolve_options, with_schedules
from utvm.driver.run import run_build
from utvm.target.board import load_board
from utvm.target.target import load_target

BOARD = "nucleo_f746zg"
DIGITS = REPOSITORY / "examples" / "digits"
OPERATORS = REPOSITORY / "tests" / "rpc"  # operators.h
FUNCTIONS = ("increment", "crash", "jump", "undefined", "hang", "breakpoint")
BRIEF_SECONDS = 0.5  # a deadline that is meant to be missed


@pytest.fixture
def server() -> Iterator[PyOcdServer]:
    server = PyOcdServer(virtual_chip())
    yield server
    server.close()


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Functions with every kind of ending, for the chip's RAM."""
    folder = tmp_path_factory.mktemp("functions")
    source = folder / "functions.c"
    names = ", ".join(FUNCTIONS)
    source.write_text(
        '#include "operators.h"\nextern const TVMBackendPackedCFunc test_functions[];\n'
        f"const TVMBackendPackedCFunc test_functions[] = {{{names}}};\n"
    )
    board = load_board(BOARD)
    target = load_target(board.target)
    return build_memory_program(
        find_toolchain(None, target),
        target,
        board,
        [source],
        [OPERATORS, crt_include_dir()],
        folder / "functions.elf",
        keep=("test_functions",),
    )


@pytest.fixture
def access(server: PyOcdServer) -> PyOcdAccess:
    return PyOcdAccess(
        probe=server.probe, timeout_seconds=PATIENCE_SECONDS, connect_seconds=PATIENCE_SECONDS
    )


@pytest.fixture
def session(access: PyOcdAccess, program: Path) -> Iterator[MemorySession]:
    board = load_board(BOARD)
    image = read_memory_program(program, board)
    with open_memory_session(access, image, board, timeout_seconds=PATIENCE_SECONDS) as session:
        yield session


def cell(session: MemorySession) -> DeviceTensor:
    """Four bytes that are zero."""
    tensor = DeviceTensor(session.allocate(4), (4,), np.dtype(np.uint8))
    session.write(tensor.address, bytes(4))
    return tensor


def test_calls_and_time(session: MemorySession) -> None:
    tensor = cell(session)
    increment = session.function("increment")
    for _ in range(20):
        session.call(increment, [tensor])
    assert session.read(tensor.address, 4) == bytes((20, 20, 20, 20))
    timing = session.time(increment, [tensor], repeat=2, number=10)
    assert session.read(tensor.address, 4) == bytes((40, 40, 40, 40))
    assert all(100 < cycles < 10_000 for cycles in timing.cycles)  # the chip's own counter
    assert session.statistics().calls == 40


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("crash", r"call of crash: the device faulted.*bus fault"),
        ("jump", r"call of jump: the device faulted.*bus fault"),
        ("undefined", r"call of undefined: the device faulted.*undefined"),
        ("breakpoint", r"call of breakpoint: the device faulted.*the core has stopped elsewhere"),
    ],
)
def test_a_fault_has_a_name_and_the_session_goes_on(
    session: MemorySession, name: str, text: str
) -> None:
    tensor = cell(session)
    session.call(session.function(name), [tensor])
    with pytest.raises(DeviceFaultError, match=text):
        session.flush()
    session.call(session.function("increment"), [tensor])
    assert session.read(tensor.address, 4) == bytes((1, 1, 1, 1))


def test_a_call_that_hangs_is_ended(session: MemorySession) -> None:
    tensor = cell(session)
    for seconds in (BRIEF_SECONDS, 10 * BRIEF_SECONDS, 100 * BRIEF_SECONDS):
        session.timeout_seconds = seconds
        session.call(session.function("hang"), [tensor])
        with pytest.raises(DeviceFaultError, match="watchdog") as error:
            session.flush()
        if error.value.where == "call of hang":  # else a busy machine had no time to begin
            break
    assert error.value.where == "call of hang"
    session.timeout_seconds = PATIENCE_SECONDS
    session.call(session.function("increment"), [tensor])
    assert session.read(tensor.address, 4) == bytes((1, 1, 1, 1))


def test_a_server_that_goes_away_during_a_call(
    session: MemorySession, access: PyOcdAccess, server: PyOcdServer
) -> None:
    tensor = cell(session)
    session.timeout_seconds = BRIEF_SECONDS
    session.call(session.function("hang"), [tensor])
    access.timeout_seconds = 2
    timer = threading.Timer(BRIEF_SECONDS / 2, server.drop)
    timer.start()
    with pytest.raises(DeviceError, match=r"probe"):
        session.flush()
    assert gone(access.pid)
    timer.join()


# Networks.


def check_network(options: BuildOptions, model: Path, golden: Path, folder: Path) -> None:
    """One row through the chip gives the reference's outputs."""
    build = build_model(load_model(model), options, folder)
    with np.load(golden) as rows:
        run = run_build(build, (rows["in0"][:1],))
        np.testing.assert_array_equal(run.outputs[0], rows["out0"][:1])
    assert run.cycles is not None


def test_digits(server: PyOcdServer, tmp_path: Path) -> None:
    options = resolve_options(board=BOARD, executor="host", transport=f"pyocd:{server.probe}")
    check_network(options, DIGITS / "digits.tflite", DIGITS / "digits_test.npz", tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("network", ["mlperf_kws_int8", "mlperf_ad01_int8"])
def test_mlperf(network: str, server: PyOcdServer, shared_models: Path, tmp_path: Path) -> None:
    options = resolve_options(board=BOARD, transport=f"pyocd:{server.probe}")
    board = options.board
    sram = board.memory("ram")
    whole = replace(sram, origin=DTCM, size_bytes=sram.end - DTCM)
    flash = board.memory("flash")
    assert flash.origin == FLASH
    options = replace(options, board=replace(board, memories=(flash, whole)))
    options = with_schedules(options, "size", portable_c=False)
    folder = shared_models / network
    check_network(options, folder / "model.tflite", folder / "golden.npz", tmp_path)
