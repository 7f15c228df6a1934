"""copy-outputs: outputs without memory of their own are copied, no others."""

from __future__ import annotations

from tests.passes.text import graph_after, lines
from utvm.passes.copy_outputs import copy_outputs


def test_inputs_constants_aliases_and_repeated_outputs_are_copied() -> None:
    text = graph_after(
        """graph net(%x: int8[4]) -> (%x, %a, %b, %c, %c) {
          const %c: int8[1] = [10]
          %a = add(%x, %x)
          %b = reshape(%a) {shape=[2, 2]}
        }""",
        copy_outputs,
    )
    assert lines(text, "graph") == [
        "graph net(%x: int8[4]) -> (%x_copy, %a, %b_copy, %c_copy, %c_copy_) {"
    ]
    assert lines(text, "%x_", "%b_", "%c_") == [
        '%x_copy: int8[4] = copy(%x) from "output"',
        '%b_copy: int8[2,2] = copy(%b) from "output"',
        '%c_copy: int8[1] = copy(%c) from "output"',
        '%c_copy_: int8[1] = copy(%c) from "output"',
    ]


def test_a_reshaped_result_needs_no_copy() -> None:
    text = """graph net(%x: int8[4]) -> (%b) {
  %a: int8[4] = add(%x, %x)
  %b: int8[2,2] = reshape(%a) {shape=[2, 2]}
}
"""
    assert graph_after(text, copy_outputs) == text
