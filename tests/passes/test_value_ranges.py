"""value_ranges: intervals hold whatever a network computes, and are as narrow as rules allow."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.passes.channel_graphs import random_graph, random_inputs
from utvm.driver.evaluate import evaluate
from utvm.ir.graph import Graph
from utvm.ir.parse_graph import parse_graph
from utvm.op.ranges import Interval, interval_of
from utvm.op.registry import find_op
from utvm.passes.value_ranges import value_ranges

SIGNED = 'requantize_linear(%x, %m, %a, %s, %b) {dtype="int8", low=-128, high=127}'


def result_range(text: str) -> Interval:
    """The interval of the output of a graph in text form."""
    graph = parse_graph(text, find_op)
    return value_ranges(graph, find_op)[graph.outputs[0]]


@pytest.mark.parametrize("seed", range(60))
def test_every_value_lies_in_its_interval(seed: int) -> None:
    graph = random_graph(seed)
    ranges = value_ranges(graph, find_op)
    names = tuple(name for node in graph.nodes for name in node.outputs)
    watched: Graph = replace(graph, outputs=names)
    for inputs in random_inputs(graph):
        for name, data in evaluate(watched, inputs, find_op).items():
            found, allowed = interval_of(data), ranges[name]
            assert (found.low >= allowed.low).all() and (found.high <= allowed.high).all(), name


@pytest.mark.parametrize(
    ("node", "type", "low", "high"),
    [
        ("clip(%x) {low=-3.0, high=500.0}", "int8[2]", [-3], [127]),
        ('cast(%x) {dtype="int16"}', "int16[2]", [-128], [127]),
        ('cast(%x) {dtype="uint8"}', "uint8[2]", [0], [255]),
        ('cast(%x) {dtype="uint8", saturate=true}', "uint8[2]", [0], [127]),
        ("add(%x, %c)", "int8[2]", [-128], [127]),
        ("minimum(%x, %c)", "int8[2]", [-128, -128], [5, -7]),
        ("maximum(%x, %c)", "int8[2]", [5, -7], [127, 127]),
        ("shift_right(%x, %bits)", "int8[2]", [-16, -1], [15, 0]),
        ("concat(%x, %c) {axis=0}", "int8[4]", [-128, -128, 5, -7], [127, 127, 5, -7]),
        ("reshape(%c) {shape=[2, 1]}", "int8[2,1]", [-7], [5]),
        ("pad(%c) {before=[1], after=[0], value=9}", "int8[3]", [9, 5, -7], [9, 5, -7]),
        ("strided_slice(%c) {begin=[1], strides=[-1], shape=[2]}", "int8[2]", [-7, 5], [-7, 5]),
        ("sum(%x) {axes=[0]}", "int32[]", [-256], [254]),
        ("mean(%x) {axes=[0]}", "int8[]", [-128], [127]),
        ("mul(%c, %c)", "int8[2]", [25, 49], [25, 49]),
    ],
)
def test_rules(node: str, type: str, low: list[int], high: list[int]) -> None:
    found = result_range(
        f"""graph g(%x: int8[2]) -> (%y) {{
          const %c: int8[2] = [5, -7]
          const %bits: int8[2] = [3, 7]
          %y: {type} = {node}
        }}"""
    )
    assert (found.low.tolist(), found.high.tolist()) == (low, high)


def test_sums_that_might_wrap_are_unknown() -> None:
    found = result_range(
        """graph g(%x: int32[1,2]) -> (%y) {
          const %w: int32[1,2] = [1, 1]
          %y: int32[1,1] = dense(%x, %w)
        }"""
    )
    assert (found.low[0], found.high[0]) == (-(1 << 31), (1 << 31) - 1)


def test_padding_widens_what_a_window_reads() -> None:
    text = """graph g(%x: int8[1,3,3,1]) -> (%y) {{
      const %w: int8[2,2,2,1] = [1, 1, 1, 1, 0, 0, 0, -2]
      const %b: int32[2] = [10, -10]
      %c: int8[1,3,3,1] = clip(%x) {{low=1.0, high=2.0}}
      %y: int32[1,{0},{0},2] = conv2d(%c, %w, %b) {{{1}}}
    }}"""
    inside = result_range(text.format(2, ""))
    assert (inside.low.tolist(), inside.high.tolist()) == ([14, -14], [18, -12])
    outside = result_range(text.format(3, "padding=[1, 0, 1, 0], input_zero_point=-5"))
    assert (outside.low.tolist(), outside.high.tolist()) == ([-10, -14], [18, 0])


def test_constants_of_negative_accumulators_count_on_their_side() -> None:
    text = """graph g(%i: int8[3]) -> (%y) {{
      const %m: int32[1] = [1073741824]
      const %a: int32[1] = [8]
      const %b: int32[1] = [-8]
      const %s: int32[1] = [1]
      %w: int32[3] = cast(%i) {{dtype="int32"}}
      %x: int32[3] = clip(%w) {{low={0}, high={1}}}
      %y: int8[3] = {2}
    }}"""
    for low, high, wanted in ((0, 40, (4, 9)), (-40, -1, (-9, -5)), (-40, 40, (-9, 9))):
        found = result_range(text.format(f"{low}.0", f"{high}.0", SIGNED))
        assert (found.low[0], found.high[0]) == wanted
