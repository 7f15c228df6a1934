"""``utvm run``: what it prints, what its JSON holds, what it leaves behind.

The demo's network on the emulated Cortex-M7 and natively; that results are right is the business of
tests/models.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.cli.conftest import Utvm

KEYS = {
    *("model", "target", "board", "executor", "toolchain", "rows", "random_inputs", "outputs"),
    "transport",
    *("matches", "max_abs_diff", "instructions", "cycles", "cycle_model", "macs", "flash_bytes"),
    *("ram_bytes", "stack_bytes", "operators", "compile_seconds"),
}


def test_json_holds_everything(utvm: Utvm, digits: Path, digits_rows: Path) -> None:
    done = utvm("run", digits, "--input", digits_rows, "--expect", digits_rows, "--json")
    assert (done.code, done.err) == (0, "")
    report = json.loads(done.out)
    assert set(report) == KEYS
    assert report["matches"] is True and report["max_abs_diff"] == 0
    assert report["target"] == report["cycle_model"] == "cortex-m7"
    assert report["rows"] == 3 and report["random_inputs"] is False
    assert set(report["flash_bytes"]) == {"code", "constants"}
    assert set(report["ram_bytes"]) == {"arena", "io", "static"}
    assert report["ram_bytes"]["io"] == 64 + 10
    keys = {"name", "op", "source", "cycles", "instructions", "macs"}
    assert all(set(operator) == keys for operator in report["operators"])
    assert sum(op["macs"] for op in report["operators"]) == report["macs"] == 176_384
    for figure in ("cycles", "instructions"):
        parts = sum(op[figure] for op in report["operators"])
        assert 0.95 * report[figure] < parts <= report[figure]
    assert 0 < report["stack_bytes"] < 8192
    assert report["compile_seconds"] > 0


def test_native_run_has_no_cycles(utvm: Utvm, digits: Path, digits_rows: Path) -> None:
    arguments = ("--input", digits_rows, "--expect", digits_rows, "--target", "host", "--json")
    report = json.loads(utvm("run", digits, *arguments).out)
    assert set(report) == KEYS
    assert report["matches"] is True
    nothing = ("cycles", "instructions", "cycle_model", "flash_bytes", "ram_bytes", "stack_bytes")
    assert [report[key] for key in nothing] == [None] * len(nothing)
    assert all(operator["cycles"] is None for operator in report["operators"])


def test_a_qemu_board_counts_nothing(utvm: Utvm, digits: Path, digits_rows: Path) -> None:
    if shutil.which("qemu-system-arm") is None:
        pytest.skip("qemu-system-arm is not installed")
    arguments = ("--input", digits_rows, "--expect", digits_rows, "--board", "mps2_an386")
    report = json.loads(utvm("run", digits, *arguments, "--json").out)
    assert set(report) == KEYS
    assert (report["target"], report["matches"]) == ("cortex-m4", True)
    nothing = ("cycles", "instructions", "cycle_model", "stack_bytes")
    assert [report[key] for key in nothing] == [None] * len(nothing)
    assert report["ram_bytes"]["io"] == 64 + 10, "memory is known: it is read from the program"
    done = utvm("run", digits, *arguments)
    assert done.code == 0 and "bit for bit" in done.out and "176,384" in done.out


def test_a_real_board_is_refused_in_one_line(utvm: Utvm, digits: Path) -> None:
    done = utvm("run", digits, "--board", "esp32c3")
    assert (done.code, done.out, done.err.count("\n")) == (1, "", 1)
    assert "esp32c3: there is no transport to this board yet; expected the table" in done.err
    assert "hint: build it with utvm compile MODEL --board esp32c3 -o OUT and make" in done.err


def test_report_for_people(utvm: Utvm, digits: Path, digits_rows: Path) -> None:
    done = utvm("run", digits, "--input", digits_rows, "--expect", digits_rows, "--profile")
    assert (done.code, done.err) == (0, "")
    assert "Emulated Cortex-M7" in done.out
    assert "CONV_2D #0" in done.out and "cycles/MAC" in done.out
    assert "arena" in done.out and "4.00 MiB" in done.out
    assert "matches the expected outputs: 30 values in 3 rows, bit for bit" in done.out
    assert done.out.isascii() and "\x1b" not in done.out


def test_without_input_says_so(utvm: Utvm, digits: Path) -> None:
    first = utvm("run", digits, "--target", "host")
    second = utvm("run", digits, "--target", "host")
    assert "random numbers, the same every time" in first.out
    values = [line for line in first.out.splitlines() if line.startswith("out0")]
    assert values and values == [x for x in second.out.splitlines() if x.startswith("out0")]


def test_mismatch_exits_with_1(utvm: Utvm, digits: Path, digits_rows: Path, tmp_path: Path) -> None:
    with np.load(digits_rows) as stored:
        changed = stored["out0"].copy()
        changed[1, 0, 4] ^= 1
        wrong = changed[1, 0, 4]
        right = stored["out0"][1, 0, 4]
    np.savez(tmp_path / "wrong.npz", out0=changed)
    arguments = ("run", digits, "--target", "host", "--input", digits_rows)
    expect = ("--expect", tmp_path / "wrong.npz")
    done = utvm(*arguments, *expect)
    assert done.code == 1
    assert "DIFFERS from the expected outputs: 1 of 30 values" in done.out
    assert f"out0 row 1 [0,4]: expected {wrong}, found {right}" in done.out
    report = json.loads(utvm(*arguments, *expect, "--json").out)
    assert report["matches"] is False and report["max_abs_diff"] == 1


def test_keep_leaves_c_elf_and_map(
    utvm: Utvm, digits: Path, digits_rows: Path, tmp_path: Path
) -> None:
    kept = tmp_path / "deep" / "kept"
    for _ in range(2):  # the second time replaces the folder
        done = utvm("run", digits, "--input", digits_rows, "--keep", kept, "--json")
        assert done.code == 0, done.err
    assert json.loads(done.out)["outputs"] == str(kept / "outputs.npz")
    names = {path.name for path in kept.iterdir()}
    assert {"model.elf", "model.map", "tvmgen_digits_kernels.c", "tvmgen_digits.h"} <= names
    assert "tvmgen_digits_run" in (kept / "model.map").read_text(encoding="utf-8")
    with np.load(kept / "outputs.npz") as got, np.load(digits_rows) as expected:
        np.testing.assert_array_equal(got["out0"], expected["out0"])
    assert [path.name for path in kept.parent.iterdir()] == ["kept"]


def test_keep_spares_other_folders(utvm: Utvm, digits: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious", encoding="utf-8")
    done = utvm("run", digits, "--keep", tmp_path)
    assert done.code == 1
    assert "the folder is not empty" in done.err
    assert (tmp_path / "thesis.txt").read_text(encoding="utf-8") == "precious"


def test_output_is_written(utvm: Utvm, digits: Path, digits_rows: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.npz"
    arguments = ("--target", "host", "--input", digits_rows, "--output", out, "--json")
    report = json.loads(utvm("run", digits, *arguments).out)
    assert report["outputs"] == str(out)
    with np.load(out) as got, np.load(digits_rows) as expected:
        assert got.files == ["out0"]
        np.testing.assert_array_equal(got["out0"], expected["out0"])


@pytest.mark.parametrize(
    ("stage", "text"),
    [("import", "graph digits("), ("fuse-ops", "@conv2d_0"), ("schedule", "function conv2d_0")],
)
def test_print_after_goes_to_stderr(utvm: Utvm, digits: Path, stage: str, text: str) -> None:
    done = utvm("run", digits, "--target", "host", "--print-after", stage, "--json")
    assert done.code == 0
    assert text in done.err
    assert json.loads(done.out)["target"] == "host"


def test_same_figures_every_time(utvm: Utvm, digits: Path, digits_rows: Path) -> None:
    arguments = ("run", digits, "--target", "cortex-m4", "--input", digits_rows, "--json")
    first, second = (json.loads(utvm(*arguments).out) for _ in range(2))
    del first["compile_seconds"], second["compile_seconds"]
    assert first == second
