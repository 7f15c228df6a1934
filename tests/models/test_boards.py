"""Real networks on the boards that QEMU emulates, and linked for the boards that people own.

The digits network of the examples runs everywhere; MLPerf's run where they fit. Outputs equal the
references bit for bit: they are what the emulator and this computer answer, too.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.crt.programs import needs_qemu
from tests.kept import Kept
from utvm.driver.build import build_model
from utvm.driver.inspect import inspect_model
from utvm.driver.load import load_model
from utvm.driver.options import EXECUTORS, resolve_options, resolve_run_options
from utvm.driver.run import run_build
from utvm.driver.tensors import compare, read_expected, read_inputs
from utvm.support.errors import MemoryLimitError, UnsupportedError
from utvm.target.board import list_boards, load_board

DIGITS = Path(__file__).parents[2] / "examples" / "digits"
QEMU = [name for name in list_boards() if load_board(name).run == "qemu"]
REAL = [name for name in list_boards() if load_board(name).run == "probe"]
NETWORKS = ("mlperf_ad01_int8", "mlperf_kws_int8")
TOO_SMALL = "microbit"


def check_outputs(
    model: Path, golden: Path, board: str, folder: Path, kept: Kept, executor: str = "aot"
) -> None:
    """The program's outputs are those of ``golden``; nothing is counted on QEMU."""
    options = resolve_options(board=board, executor=executor)
    needs_qemu(options.board)
    build = kept.build(load_model(model), options, folder)
    inputs = read_inputs(golden, build.inputs)
    run = run_build(build, inputs)
    comparison = compare(run.outputs, read_expected(golden, build.outputs, len(inputs[0])))
    assert comparison.matches and comparison.max_abs_diff == 0, comparison
    assert (run.instructions, run.cycles, run.stack_bytes) == (None, None, None)
    assert all(op.cycles is None and op.instructions is None for op in run.operators)


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("board", QEMU)
def test_digits_on_qemu(board: str, executor: str, kept: Kept, tmp_path: Path) -> None:
    golden = DIGITS / "digits_test.npz"
    check_outputs(DIGITS / "digits.tflite", golden, board, tmp_path, kept, executor)


@pytest.mark.slow
@pytest.mark.parametrize("board", [name for name in QEMU if name != TOO_SMALL])
@pytest.mark.parametrize("network", NETWORKS)
def test_mlperf_on_qemu(
    network: str, board: str, shared_models: Path, kept: Kept, tmp_path: Path
) -> None:
    folder = shared_models / network
    check_outputs(folder / "model.tflite", folder / "golden.npz", board, tmp_path, kept)


@pytest.mark.parametrize("network", NETWORKS)
def test_what_does_not_fit_is_refused(network: str, shared_models: Path, tmp_path: Path) -> None:
    model = load_model(shared_models / network / "model.tflite")
    with pytest.raises(MemoryLimitError, match="use a board with more memory"):
        build_model(model, resolve_options(board=TOO_SMALL), tmp_path)


@pytest.mark.parametrize("board", REAL)
def test_digits_fit_every_real_board(board: str) -> None:
    model = load_model(DIGITS / "digits.tflite")
    inspection = inspect_model(model, resolve_options(board=board))
    assert inspection.fits and inspection.memory is not None
    limits = load_board(board)
    assert 0 < inspection.memory.flash.total < limits.memory("flash").size_bytes
    assert 0 < inspection.memory.ram.total < limits.memory("ram").size_bytes


def test_a_program_that_runs_alone_is_for_flash_on_a_real_board(tmp_path: Path) -> None:
    model = load_model(DIGITS / "digits.tflite")
    build = build_model(model, resolve_options(board="nucleo_f746zg"), tmp_path)
    with pytest.raises(UnsupportedError, match="nucleo_f746zg: a program that runs alone cannot"):
        run_build(build, read_inputs(DIGITS / "digits_test.npz", build.inputs))


def test_a_real_board_says_what_to_do() -> None:
    with pytest.raises(UnsupportedError) as error:
        resolve_run_options(board="esp32c3")
    assert str(error.value) == (
        "esp32c3: there is no transport to this board yet; expected the table [debug] in its"
        " board.toml, or --transport; hint: build it with utvm compile MODEL --board esp32c3 -o OUT"
        " and make -C OUT, then esptool --chip esp32c3 elf2image OUT/standalone/model.elf"
    )
