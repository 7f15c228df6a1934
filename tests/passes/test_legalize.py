"""legalize: quantized nodes become plain ones, by each operator's own rule."""

from __future__ import annotations

from functools import partial

import pytest

from tests.passes.text import graph_after, lines
from utvm.op.registry import find_op
from utvm.passes.legalize import legalize
from utvm.support.errors import UnsupportedError

PASS = partial(legalize, find_op=find_op)

CONV2D = """graph net(%x: int8[1,2,2,1] q(scale=0.5, zero_point=-3)) -> (%y) {
  const %w: int8[2,1,1,1] q(scales=[0.25, 0.5], zero_points=[0, 0], axis=0) = [3, -5]
  const %b: int32[2] = [10, 20]
  %y: int8[1,2,2,2] q(scale=1.0, zero_point=4) = conv2d(%x, %w, %b) {activation="relu"} from "C #0"
}
"""


def test_the_zero_point_goes_into_the_bias_and_a_rescaling_follows() -> None:
    text = graph_after(CONV2D, PASS)
    assert " q(" not in text
    assert lines(text, "const %bias") == ["const %bias: int32[2] = [19, 5]"]
    first, second = lines(text, "%")
    assert first == (
        '%y_1: int32[1,2,2,2] = conv2d(%x, %w, %bias) {input_zero_point=-3} from "C #0"'
    )
    assert second.startswith("%y: int8[1,2,2,2] = requantize")
    assert "low=4, high=127" in second
    assert second.endswith('from "C #0"')


def test_a_fused_activation_of_floats_becomes_a_clip() -> None:
    text = graph_after(
        """graph net(%x: float32[2]) -> (%y) {
          const %b: float32[2] = [0.5, 1.5]
          %y = add(%x, %b) {activation="relu6"}
        }""",
        PASS,
    )
    assert text == (
        "graph net(%x: float32[2]) -> (%y) {\n"
        "  const %b: float32[2] = [0.5, 1.5]\n"
        "  %y_1: float32[2] = add(%x, %b)\n"
        "  %y: float32[2] = clip(%y_1) {low=0.0, high=6.0} as y_2\n"
        "}\n"
    )


def test_plain_graphs_stay_as_they_are() -> None:
    text = """graph net(%x: int32[2]) -> (%y) {
  %z: int32[2] = add(%x, %x)
  %y: int32[2] = copy(%z)
}
"""
    assert graph_after(text, PASS) == text


def test_a_result_of_another_type_names_the_node() -> None:
    text = CONV2D.replace("%y: int8[1,2,2,2] q(scale=1.0, zero_point=4)", "%y: int16[1,2,2,2]")
    with pytest.raises(UnsupportedError) as caught:
        graph_after(text, PASS)
    assert str(caught.value) == (
        "C #0: the operator's result does not have the declared type; "
        "expected int16[1,2,2,2]; found int32[1,2,2,2]"
    )
