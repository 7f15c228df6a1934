"""fold-constants: nodes with known operands become constants; everything else stays."""

from __future__ import annotations

from functools import partial

from tests.passes.text import graph_after
from utvm.op.registry import find_op
from utvm.passes.fold_constants import LIMIT_BYTES, fold_constants

PASS = partial(fold_constants, find_op=find_op)


def test_known_operands_are_computed() -> None:
    text = graph_after(
        """graph net(%x: int32[2]) -> (%y) {
          const %b: int8[2] = [10, -20]
          const %eight: int32[1] = [8]
          %wide = cast(%b) {dtype="int32"}
          %b8 = mul(%wide, %eight)
          %y = add(%x, %b8)
        }""",
        PASS,
    )
    assert text == (
        "graph net(%x: int32[2]) -> (%y) {\n"
        "  const %b8: int32[2] = [80, -160]\n"
        "  %y: int32[2] = add(%x, %b8)\n"
        "}\n"
    )


def test_an_output_may_become_a_constant() -> None:
    text = graph_after(
        "graph net(%x: int8[1]) -> (%y) { const %c: int8[1] = [5] %y = add(%c, %c) }", PASS
    )
    assert text == "graph net(%x: int8[1]) -> (%y) {\n  const %y: int8[1] = [10]\n}\n"


def test_quantized_nodes_wait() -> None:
    q = "q(scale=0.5, zero_point=0)"
    text = f"""graph net(%x: int8[1]) -> (%y) {{
  const %c: int8[1] {q} = [5]
  %y: int8[1] {q} = add(%c, %c)
}}
"""
    assert graph_after(text, PASS) == text


def test_large_results_are_not_computed() -> None:
    extent = LIMIT_BYTES // 4096 + 1
    text = f"""graph net(%x: int8[1]) -> (%y) {{
  const %c: int8[1] = [5]
  const %begin: int8[4096,1] = [{", ".join(["1"] * 4096)}]
  const %row: int8[1,{extent}] = [{", ".join(["1"] * extent)}]
  %y = add(%begin, %row)
}}
"""
    assert "= add(%begin, %row)" in graph_after(text, PASS)
