"""common-subexpressions: what is computed twice is computed once; outputs keep their names."""

from __future__ import annotations

import pytest

from tests.passes.channel_graphs import assert_equal, random_graph
from tests.passes.text import graph_after, lines
from utvm.passes.common_subexpressions import common_subexpressions

TEXT = """graph g(%x: int8[4]) -> (%y) {{
  const %a: int8[1] = [3]
  const %b: int8[1] = [{constant}]
  %s: int8[4] = minimum(%x, %a)
  %t: int8[4] = {node}
  %y: int8[4] = maximum(%s, %t)
}}"""


@pytest.mark.parametrize(
    ("node", "constant", "is_same"),
    [
        ("minimum(%x, %b)", 3, True),
        ("minimum(%x, %b)", 4, False),
        ("maximum(%x, %b)", 3, False),
        ("minimum(%b, %x)", 3, False),
    ],
)
def test_equal_operators_on_equal_operands(node: str, constant: int, is_same: bool) -> None:
    text = graph_after(TEXT.format(node=node, constant=constant), common_subexpressions)
    second = "%s" if is_same else "%t"
    assert lines(text, "%y") == [f"%y: int8[4] = maximum(%s, {second})"]
    assert len(lines(text, "const")) == (1 if is_same else 2)


def test_attributes_count_to_the_sign_of_zero() -> None:
    def after(low: str) -> list[str]:
        text = f"""graph g(%x: float32[4]) -> (%y) {{
          %s: float32[4] = clip(%x) {{low=0.0}}
          %t: float32[4] = clip(%x) {{low={low}}}
          %y: float32[4] = add(%s, %t)
        }}"""
        return lines(graph_after(text, common_subexpressions), "%")

    assert len(after("0.0")) == 2
    assert len(after("-0.0")) == 3
    assert len(after("1.0")) == 3


def test_chains_of_equal_nodes_and_outputs() -> None:
    text = graph_after(
        """graph g(%x: int8[4]) -> (%p, %q) {
          %a: int8[4] = clip(%x) {low=1.0}
          %b: int8[4] = clip(%x) {low=1.0}
          %p: int8[4] = clip(%a) {low=2.0}
          %q: int8[4] = clip(%b) {low=2.0}
        }""",
        common_subexpressions,
    )
    assert lines(text, "%") == [
        "%a: int8[4] = clip(%x) {low=1.0}",
        "%p: int8[4] = clip(%a) {low=2.0}",
        "%q: int8[4] = copy(%p)",
    ]


@pytest.mark.parametrize("seed", range(30))
def test_random_networks_stay_the_same(seed: int) -> None:
    graph = random_graph(seed)
    assert_equal(graph, common_subexpressions(graph))
