"""Networks run by the graph executor give the reference's outputs: emulator, QEMU and host.

In: the demo's network, and the MLPerf Tiny networks of ../shared/models. Every case goes the whole
road through the driver with ``--executor graph``; the memory that was forecast is compared with the
program's, and on QEMU the same ELF file answers the same.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.crt.programs import run_qemu
from tests.kept import Kept
from utvm.driver.build import Build, build_model
from utvm.driver.load import load_model
from utvm.driver.memory import forecast
from utvm.driver.options import PARAMS, resolve_options
from utvm.driver.run import run_build
from utvm.driver.tensors import Rows, compare, read_expected, read_inputs

DIGITS = REPOSITORY / "examples" / "digits"
MLPERF = ("mlperf_ad01_int8", "mlperf_kws_int8", "mlperf_resnet8_int8", "mlperf_sww_int8")
TARGETS = ("cortex-m0plus", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33", "host")
ROWS = 5


def build_network(
    model: Path, target: str, toolchain: str, folder: Path, params: str = "linked"
) -> Build:
    options = resolve_options(target, executor="graph", toolchain=toolchain)
    return build_model(load_model(model), replace(options, params=params), folder)


def rows_of(build: Build, archive: Path) -> tuple[Rows, Rows]:
    """The first rows of the inputs and what they give."""
    inputs = read_inputs(archive, build.inputs)
    expected = read_expected(archive, build.outputs, len(inputs[0]))
    return tuple(x[:ROWS] for x in inputs), tuple(x[:ROWS] for x in expected)


def check(build: Build, archive: Path) -> None:
    inputs, expected = rows_of(build, archive)
    run = run_build(build, inputs)
    comparison = compare(run.outputs, expected)
    assert comparison.matches, comparison
    if build.memory is not None:
        promised = forecast(build.compiled)
        assert (build.memory.ram.arena, build.memory.ram.io) == (promised.arena, promised.io)
        assert run.cycles is not None and run.cycles > 0
        assert all(operator.cycles for operator in run.operators)


@pytest.mark.parametrize("params", PARAMS)
@pytest.mark.parametrize("target", TARGETS)
def test_digits(tmp_path: Path, target: str, params: str) -> None:
    build = build_network(DIGITS / "digits.tflite", target, "zig", tmp_path, params)
    check(build, DIGITS / "digits_test.npz")


@pytest.mark.slow
@pytest.mark.parametrize("toolchain", ["zig", "gcc"])
@pytest.mark.parametrize("target", ["cortex-m4", "cortex-m7", "host"])
@pytest.mark.parametrize("name", MLPERF)
def test_mlperf(
    shared_models: Path, kept: Kept, tmp_path: Path, name: str, target: str, toolchain: str
) -> None:
    folder = shared_models / name
    options = resolve_options(target, executor="graph", toolchain=toolchain)
    model = load_model(folder / "model.tflite")
    check(kept.build(model, options, tmp_path), folder / "golden.npz")


@pytest.mark.parametrize("toolchain", ["zig", "gcc"])
@pytest.mark.parametrize("target", ["cortex-m3", "cortex-m4", "cortex-m7"])
def test_qemu_answers_the_same(tmp_path: Path, target: str, toolchain: str) -> None:
    """MPS2 boards AN385, AN386 and AN500, with semihosting."""
    build = build_network(DIGITS / "digits.tflite", target, toolchain, tmp_path)
    inputs, expected = rows_of(build, DIGITS / "digits_test.npz")
    done = run_qemu(build.program, build.options.board, inputs[0].tobytes(), tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "utvm_out.bin").read_bytes() == expected[0].tobytes()
