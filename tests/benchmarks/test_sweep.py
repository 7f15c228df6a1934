"""The page of random layers: what it says is what is kept, and what is nearest to what."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.report_sweep import write_page
from benchmarks.sweep import (
    Layer,
    law,
    lawful_ratio,
    nearest,
    prototypes,
    ratio,
    read_folder,
    read_kept,
)
from tests.conftest import REPOSITORY

LAYER = Layer(
    "conv 3x3 int8 1x8x8x16 → 16", "conv", "int8", (3, 3), 16, 16, True, 147_456, 144,
    {"cortex-m4": 147_456}, (), ("host", "cortex-m4"),
)  # fmt: skip


def test_page_says_what_is_kept() -> None:
    page = (REPOSITORY / "docs" / "benchmarks_sweep.md").read_text(encoding="utf-8")
    assert page == write_page(read_kept())


@pytest.mark.parametrize(
    ("layer", "name"),
    [
        (LAYER, "3x3 16→16 32x32, Winograd"),
        (replace(LAYER, whole=False), "3x3 16→16 32x32, direct"),
        (replace(LAYER, depth=3), "3x3 3→16 32x32, direct"),
        (replace(LAYER, depth=60, filters=40), "3x3 64→64 8x8, Winograd"),
        (replace(LAYER, kind="dense", window=(1, 1)), "1x1 64→64 12x12"),
        (replace(LAYER, kind="depthwise", window=(5, 1), depth=1), "3x3 24x24x32"),
    ],
)
def test_nearest_is_of_the_same_kind(layer: Layer, name: str) -> None:
    prototype = nearest(layer)
    assert prototype is not None and prototype.name == name


def test_pools_have_no_prototype() -> None:
    assert ratio(replace(LAYER, kind="pool"), "cortex-m4") is None


def test_the_law_goes_through_the_prototypes() -> None:
    for prototype in prototypes():
        if not prototype.winograd and prototype.depth != 3:
            expected = law(prototype.kind, "cortex-m4").cycles(prototype.products)
            assert expected == pytest.approx(prototype.m4 * prototype.products, rel=0.01)
    assert lawful_ratio(replace(LAYER, kind="pool"), "cortex-m4") is None
    # 144 products at a cycle each; the law says 153.2 cycles.
    assert lawful_ratio(LAYER, "cortex-m4") == pytest.approx(144 / 153.2, rel=0.001)


def test_what_is_wrong_is_counted_and_what_is_dear_has_a_reason() -> None:
    dear = replace(LAYER, cycles={"cortex-m4": 294_912}, wrong=("host",))
    page = write_page([LAYER, dear])
    assert "| host | 2 | 1 |" in page and "| cortex-m4 | 2 | 2 |" in page
    assert "## Over 1.5 times, cortex-m4: 1" in page
    assert "| int8 conv, others | 1 |" in page
    assert (
        "| conv 3x3 int8 1x8x8x16 → 16 | 2.00 | 2.78 | 288.0 | 3x3 16→16 32x32, Winograd |" in page
    )


def test_reasons_of_what_is_dear() -> None:
    cycles = {"cortex-m4": 221_184}
    winograd = replace(LAYER, cycles=cycles)
    few = replace(LAYER, cycles={"cortex-m4": 294_912}, filters=2)
    short = replace(LAYER, kind="depthwise", taps=3, cycles={"cortex-m4": 1_000_000}, depth=1)
    page = write_page([winograd, few, short])
    for reason in (
        "direct, held against Winograd's algorithm",
        "at most 5 filters",
        "few products, as dear as the prototypes' law says",
    ):
        assert f"| {reason} | 1 |" in page


def test_lines_of_targets_come_together(tmp_path: Path) -> None:
    shape = {
        "kind": "grouped", "dtype": "int8", "image": [1, 4, 4, 8], "window": [1, 1],
        "channels": 4, "results": [1, 4, 4], "strides": [1, 1], "dilation": [1, 1], "groups": 2,
        "note": "SAME",
    }  # fmt: skip
    for target, cycles in (("host", 0), ("cortex-m7", 99)):
        line = {"number": 5, "shape": shape, "cycles": cycles, "wrong": ""}
        (tmp_path / f"{target}-1.jsonl").write_text(json.dumps(line) + "\n")
    (layer,) = read_folder(tmp_path)
    assert layer.ran == ("host", "cortex-m7") and layer.cycles == {"cortex-m7": 99}
    assert (layer.depth, layer.filters, layer.macs) == (4, 2, 256)
    assert layer.text == "grouped 1x1 g2 int8 1x4x4x8 → 4 SAME"
