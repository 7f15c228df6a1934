"""Targets: the ones that come with utvm, and the errors of a broken target file."""

from __future__ import annotations

from pathlib import Path

import pytest

from utvm.support.errors import InputError
from utvm.target.board import list_boards, load_board
from utvm.target.target import list_targets, load_target, read_target

GOOD = """
title = "A processor"
source = "its manual"
cpu = "cortex-m4"
arch = "armv7e-m"
features = ["dsp"]
cycle_model = "cortex-m4"
default_board = "emu_cortex_m4"
[clang]
flags = ["-mcpu=cortex-m4"]
[gcc]
program = "gcc"
flags = []
"""


def test_the_targets_are_there() -> None:
    assert list_targets() == (
        "cortex-m0",
        "cortex-m0plus",
        "cortex-m3",
        "cortex-m33",
        "cortex-m4",
        "cortex-m55",
        "cortex-m7",
        "host",
        "riscv32imc",
    )


@pytest.mark.parametrize("name", list_targets())
def test_a_target_names_a_board_of_its_own(name: str) -> None:
    target = load_target(name)
    assert target.name == name
    assert target.default_board in list_boards()
    assert load_board(target.default_board).target == name


def test_features_and_flags_agree() -> None:
    m0, m4 = load_target("cortex-m0plus"), load_target("cortex-m4")
    assert (m0.has("dsp"), m0.has("unaligned"), m0.float_abi) == (False, False, "soft")
    assert (m4.has("dsp"), m4.has("unaligned"), m4.float_abi) == (True, True, "hard")
    for target in map(load_target, list_targets()):
        if target.arch.startswith("arm"):
            assert f"-mfloat-abi={target.float_abi}" in target.clang_flags
            assert f"-mfloat-abi={target.float_abi}" in target.gcc_flags


def test_an_unknown_target_points_at_the_nearest() -> None:
    with pytest.raises(InputError) as error:
        load_target("cortex_m4")
    assert str(error.value) == (
        "unknown target 'cortex_m4'; expected one of cortex-m0, cortex-m0plus, cortex-m3,"
        " cortex-m33, cortex-m4, cortex-m55, cortex-m7, host, riscv32imc;"
        " hint: did you mean 'cortex-m4'?"
    )


def test_a_good_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(GOOD)
    target = read_target(path)
    assert (target.name, target.features) == ("mine", frozenset({"dsp"}))


COSTS = """
[costs]
registers = 7
unroll = 80
[costs.cycles]
load = 2
alu = 0.5
[costs.instructions]
"""


def test_costs_are_read(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(GOOD + COSTS)
    costs = read_target(path).costs
    assert costs is not None
    assert (costs.registers, costs.unroll, costs.mispredict_cycles) == (7, 80, 0)
    assert (costs.cycles["load"], costs.cycles["alu"], costs.cycles["store"]) == (2.0, 0.5, 1.0)
    assert set(costs.instructions.values()) == {1.0}


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("load = 2", "laod = 2", "[cycles]: unknown field 'laod'"),
        ("load = 2", "load = -2", "field 'load' is wrong; expected a number from 0 up; found -2"),
        ("load = 2", "load = true", "field 'load' is wrong; expected a number from 0 up"),
        ("[costs.instructions]", "", "field 'instructions' is missing"),
    ],
)
def test_broken_costs_are_refused(tmp_path: Path, old: str, new: str, text: str) -> None:
    path = tmp_path / "mine.toml"
    assert old in COSTS
    path.write_text(GOOD + COSTS.replace(old, new))
    with pytest.raises(InputError) as error:
        read_target(path)
    assert text in str(error.value)


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ('["dsp"]', '["dps"]', "unknown feature; expected one of thumb2,"),
        ('["dsp"]', '"dsp"', "field 'features' is wrong; expected a list of strings; found _dsp_"),
        ('title = "A processor"', "", "field 'title' is missing"),
        (
            'title = "A processor"',
            "title = 3",
            "field 'title' is wrong; expected a string; found 3",
        ),
        ('model = "cortex-m4"', 'model = "m4"', "field 'cycle_model' is wrong; expected one of"),
        ("[gcc]", "colour = 'red'\n[gcc]", "[clang]: unknown field 'colour'"),
        ("[clang]", "[clnag]", "field 'clang' is missing"),
        ("[gcc]", "[gcc", "the file is not TOML; found Expected ']'"),
    ],
)
def test_a_broken_file_is_refused(tmp_path: Path, old: str, new: str, text: str) -> None:
    path = tmp_path / "mine.toml"
    assert old in GOOD
    path.write_text(GOOD.replace(old, new))
    with pytest.raises(InputError) as error:
        read_target(path)
    assert str(path) in str(error.value)
    assert text in str(error.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot be read; found No such file"):
        read_target(tmp_path / "none.toml")


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=r"cannot be read; found not UTF-8 text"):
        read_target(path)


def test_a_pipeline_is_read(tmp_path: Path) -> None:
    m4, m7 = load_target("cortex-m4").pipeline, load_target("cortex-m7").pipeline
    assert (m4.width, m4.load_cycles, m4.next_load_cycles, m4.branch_cycles) == (1, 2, 1, 3)
    assert (m7.width, m7.load_latency, m7.multiplicand_load_latency) == (2, 1, 2)
    path = tmp_path / "mine.toml"
    path.write_text(GOOD + "[pipeline]\nwidth = 3\n")
    with pytest.raises(InputError) as error:
        read_target(path)
    assert str(error.value) == (
        f"{path}[pipeline]: field 'width' is wrong; expected 1 or 2; found 3"
    )
    path.write_text(GOOD + "[pipeline]\nwidth = 2\nlatency = 3\n")
    with pytest.raises(InputError, match="unknown field 'latency'"):
        read_target(path)
