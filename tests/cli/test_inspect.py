"""``utvm inspect``: operators with reasons, tensors, MACs, and memory that equals that of a run.

The demo's network, a model with an operator that does not exist, and one that does not fit a board.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.cli.conftest import Utvm
from tests.tflite_builder import ModelBuilder

SMALL_BOARD = """
title = "A board with little memory"
source = "made for this test"
target = "cortex-m4"
port = "cortex_m"
run = "emulator"
stack_bytes = 1024

[[memory]]
name = "flash"
kind = "flash"
origin = 0x0800_0000
size_bytes = 0x2000

[[memory]]
name = "ram"
kind = "ram"
origin = 0x2000_0000
size_bytes = 0x800
"""


@pytest.fixture
def unsupported(tmp_path: Path) -> Path:
    """A convolution by someone else behind a ReLU."""
    builder = ModelBuilder()
    x = builder.tensor((1, 4), np.float32, name="x")
    y = builder.tensor((1, 4), np.float32, name="y\x1b[31m*/")
    z = builder.tensor((1, 4), np.float32, name="z")
    builder.op("RELU", [x], [y])
    builder.op("CUSTOM", [y], [z], custom_code="Magic")
    path = tmp_path / "model.tflite"
    path.write_bytes(builder.build([x], [z]))
    return path


@pytest.mark.parametrize("target", ["cortex-m7", "cortex-m0plus"])
def test_memory_is_that_of_a_run(utvm: Utvm, digits: Path, target: str) -> None:
    inspected = json.loads(utvm("inspect", digits, "--target", target, "--json").out)
    ran = json.loads(utvm("run", digits, "--target", target, "--json").out)
    for key in ("flash_bytes", "ram_bytes", "macs"):
        assert inspected[key] == ran[key]


def test_lists_operators_and_tensors(utvm: Utvm, digits: Path) -> None:
    done = utvm("inspect", digits, "--json")
    assert (done.code, done.err) == (0, "")
    report = json.loads(done.out)
    assert report["supported"] is True and report["problem"] is None and report["fits"] is True
    assert report["inputs"][0]["type"] == "int8[1,8,8,1]"
    assert set(report["inputs"][0]["quantization"]) == {"scale", "zero_point", "axis"}
    assert report["operators"][0]["name"] == "CONV_2D"
    assert sum(operator["macs"] for operator in report["operators"]) == report["macs"]
    assert report["macs_removed"] == 0


def test_forecasts_cycles(utvm: Utvm, digits: Path) -> None:
    report = json.loads(utvm("inspect", digits, "--target", "cortex-m4", "--json").out)
    operators = {op["name"]: op for op in report["operators"]}
    assert operators["ADD"]["predicted_cycles"] is None, "it is part of a convolution's kernel"
    assert operators["CONV_2D"]["predicted_cycles"] > operators["SOFTMAX"]["predicted_cycles"] > 0
    assert [kernel["source"] for kernel in report["kernels"]][2] == "CONV_2D #2, ADD #3"
    for key in ("predicted_cycles", "predicted_instructions"):
        for lines in (report["operators"], report["kernels"]):
            assert sum(line[key] or 0 for line in lines) == report[key]
    shown = utvm("inspect", digits, "--target", "cortex-m4").out
    assert f"about {report['predicted_cycles']:,} cycles" in shown
    assert f"{operators['SOFTMAX']['predicted_cycles']:,}  yes" in shown


def test_forecasts_nothing_without_a_table(utvm: Utvm, digits: Path) -> None:
    report = json.loads(utvm("inspect", digits, "--target", "host", "--json").out)
    assert (report["predicted_cycles"], report["kernels"]) == (None, [])
    assert all(op["predicted_cycles"] is None for op in report["operators"])
    assert "cycles" not in utvm("inspect", digits, "--target", "host").out


def test_tells_what_need_not_be_computed(utvm: Utvm, shared_models: Path) -> None:
    model = shared_models / "mlperf_vww96_int8" / "model.tflite"
    report = json.loads(utvm("inspect", model, "--json").out)
    assert report["macs"] + report["macs_removed"] == 7_489_664
    assert 3_700_000 < report["macs_removed"] < 3_800_000
    assert f"{report['macs_removed']:,} of the model's removed" in utvm("inspect", model).out


def test_text_form(utvm: Utvm, digits: Path) -> None:
    done = utvm("inspect", digits)
    assert done.code == 0
    assert "input 0: int8[1,8,8,1]" in done.out and "real = " in done.out
    assert "all supported; 176,384 MACs" in done.out
    assert "arena" in done.out


def test_unsupported_model_is_listed_with_reasons(utvm: Utvm, unsupported: Path) -> None:
    done = utvm("inspect", unsupported)
    assert (done.code, done.err) == (0, "")
    assert "CUSTOM:Magic" in done.out and "no: " in done.out
    assert "not supported: 1 of 2 operators are not supported" in done.out
    assert "\x1b" not in done.out
    report = json.loads(utvm("inspect", unsupported, "--json").out)
    assert [operator["supported"] for operator in report["operators"]] == [True, False]
    assert report["operators"][1]["reason"]
    assert report["supported"] is False and report["flash_bytes"] is None


def test_running_it_points_at_inspect(utvm: Utvm, unsupported: Path) -> None:
    done = utvm("run", unsupported)
    assert done.code == 1
    assert "CUSTOM:Magic" in done.err and "utvm inspect" in done.err
    assert done.err.count("\n") == 1


def test_board_that_is_too_small(utvm: Utvm, digits: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tiny_board"
    folder.mkdir()
    (folder / "board.toml").write_text(SMALL_BOARD, encoding="utf-8")
    done = utvm("inspect", digits, "--board", folder)
    assert (done.code, done.err) == (0, "")
    assert "does NOT fit A board with little memory" in done.out
    report = json.loads(utvm("inspect", digits, "--board", folder, "--json").out)
    elsewhere = json.loads(utvm("inspect", digits, "--target", "cortex-m4", "--json").out)
    assert report["fits"] is False
    assert report["ram_bytes"] == elsewhere["ram_bytes"]
    assert report["flash_bytes"]["code"] == elsewhere["flash_bytes"]["code"]
    ran = utvm("run", digits, "--board", folder)
    assert ran.code == 1 and "use a board with more memory" in ran.err


def test_native_program_has_no_flash(utvm: Utvm, digits: Path) -> None:
    done = utvm("inspect", digits, "--target", "host")
    assert "flash and RAM are those of this computer" in done.out
    assert json.loads(utvm("inspect", digits, "--target", "host", "--json").out)["fits"] is True


@pytest.fixture
def wrong_scale(tmp_path: Path) -> Path:
    """A LOGISTIC with an output scale that its kernels do not have, behind a RELU."""
    builder = ModelBuilder()
    x = builder.tensor((1, 4), np.int8, 0.5, 0)
    y = builder.tensor((1, 4), np.int8, 0.5, 0)
    z = builder.tensor((1, 4), np.int8, 0.25, 0)
    builder.op("RELU", [x], [y])
    builder.op("LOGISTIC", [y], [z])
    path = tmp_path / "model.tflite"
    path.write_bytes(builder.build([x], [z]))
    return path


def test_what_only_legalization_knows_is_listed(utvm: Utvm, wrong_scale: Path) -> None:
    """Inspect never says yes where run says no."""
    report = json.loads(utvm("inspect", wrong_scale, "--json").out)
    assert [operator["supported"] for operator in report["operators"]] == [True, False]
    assert report["operators"][1]["reason"] == ("LOGISTIC has a fixed output scale; expected 1/256")
    result = utvm("run", wrong_scale)
    assert result.code == 1
    assert "LOGISTIC #1: LOGISTIC has a fixed output scale; expected 1/256" in result.err
