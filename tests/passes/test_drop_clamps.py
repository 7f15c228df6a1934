"""drop-clamps: bounds that no value reaches go, and none that one may reach."""

from __future__ import annotations

from functools import partial

import pytest

from tests.passes.channel_graphs import assert_equal, random_graph
from tests.passes.text import graph_after, lines
from utvm.op.registry import find_op
from utvm.passes.drop_clamps import drop_clamps


def after(node: str, result: str = "int8[2]") -> list[str]:
    """The nodes behind %c, which holds 0 to 90 and -5 to 90."""
    text = f"""graph g(%x: int8[2]) -> (%z) {{
      const %low: int8[2] = [0, -5]
      const %top: int8[1] = [90]
      const %far: int8[1] = [91]
      const %m: int32[1] = [1073741824]
      const %one: int32[1] = [1]
      %b: int8[2] = maximum(%x, %low)
      %c: int8[2] = minimum(%b, %top)
      %y: {result} = {node}
      %z: {result} = add(%y, %y)
    }}"""
    return lines(graph_after(text, partial(drop_clamps, find_op=find_op)), "%y", "%z")


@pytest.mark.parametrize(
    "node",
    [
        "clip(%c) {low=-5.0, high=90.0}",
        "minimum(%c, %top)",
        "minimum(%far, %c)",
        "maximum(%low, %c)",
    ],
)
def test_what_cannot_act_goes(node: str) -> None:
    assert after(node) == ["%z: int8[2] = add(%c, %c)"]


@pytest.mark.parametrize(
    "node",
    [
        "clip(%c) {low=-4.0, high=89.0}",
        "minimum(%c, %x)",
        "maximum(%x, %low)",
        "maximum(%c, %top)",
    ],
)
def test_what_may_act_stays(node: str) -> None:
    assert after(node)[0] == f"%y: int8[2] = {node}"


def test_an_operand_of_another_shape_does_not_stand_in() -> None:
    text = """graph g(%x: int8[1]) -> (%z) {
      const %c: int8[2] = [127, 127]
      %y: int8[2] = minimum(%x, %c)
      %z: int8[2] = add(%y, %y)
    }"""
    assert len(lines(graph_after(text, partial(drop_clamps, find_op=find_op)), "%y")) == 1


@pytest.mark.parametrize(
    ("node", "type", "left"),
    [
        ("clip(%c) {low=-9.0, high=80.0}", "int8[2]", "clip(%c) {high=80.0}"),
        ("clip(%c) {low=1.0, high=99.0}", "int8[2]", "clip(%c) {low=1.0}"),
        (
            'cast(%c) {dtype="int16", saturate=true}',
            "int16[2]",
            'cast(%c) {dtype="int16"}',
        ),
        (
            'cast(%c) {dtype="uint8", saturate=true}',
            "uint8[2]",
            'cast(%c) {dtype="uint8", saturate=true}',
        ),
        (
            'requantize(%c, %m, %one) {dtype="int8", low=-3, high=22, right=true}',
            "int8[2]",
            'requantize(%c, %m, %one) {dtype="int8", low=-128, high=22, right=true}',
        ),
        (
            'sum_linear(%c, %c) {dtype="int8", low=-2, high=45, weights=[1, 1], addend=0, shift=2}',
            "int8[2]",
            "sum_linear(%c, %c) "
            '{dtype="int8", low=-2, high=127, weights=[1, 1], addend=0, shift=2}',
        ),
    ],
)
def test_single_bounds(node: str, type: str, left: str) -> None:
    assert after(node, type)[0] == f"%y: {type} = {left}"


def test_floats_are_left_alone() -> None:
    text = """graph g(%x: float32[2]) -> (%y) {
      %a: float32[2] = clip(%x) {low=0.0, high=1.0}
      %y: float32[2] = clip(%a) {low=0.0, high=1.0}
    }"""
    found = lines(graph_after(text, partial(drop_clamps, find_op=find_op)), "%")
    assert len(found) == 2


@pytest.mark.parametrize("seed", range(80))
def test_random_networks_stay_the_same(seed: int) -> None:
    graph = random_graph(seed)
    assert_equal(graph, drop_clamps(graph, find_op))
