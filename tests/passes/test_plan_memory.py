"""plan-memory: who lies where in the arena, from the text of a network.

Every plan is also checked for what must always hold: things that live at the same time do not
overlap, unless one takes the other's place.
"""

from __future__ import annotations

from itertools import combinations

from utvm.ir.graph import Graph
from utvm.ir.loop import Module
from utvm.ir.memory import MemoryPlan
from utvm.ir.parse_graph import parse_graph
from utvm.op.registry import find_op
from utvm.passes.copy_outputs import copy_outputs
from utvm.passes.fuse_ops import fuse_ops
from utvm.passes.lower import lower
from utvm.passes.plan_memory import plan_memory


def planned(text: str) -> tuple[Module, MemoryPlan]:
    graph: Graph = copy_outputs(parse_graph(text, find_op))
    module = lower(fuse_ops(graph, find_op), find_op)
    plan = plan_memory(module)
    places = [*{p.offset: p for p in plan.values.values()}.values(), *plan.workspaces.values()]
    for a, b in combinations(places, 2):
        apart_in_time = a.last < b.first or b.last < a.first
        apart_in_space = a.offset + a.size <= b.offset or b.offset + b.size <= a.offset
        assert apart_in_time or apart_in_space, (a, b)
    assert all(p.offset % 8 == 0 for p in places)
    assert plan.arena_bytes == max((p.offset + p.size for p in places), default=0)
    return module, plan


def chain(*lines: str) -> str:
    """A network of dense layers, int8 [1,16] to int32 [1,16], and what ``lines`` says."""
    weights = ", ".join(["1"] * 256)
    body = "\n".join(lines)
    return f"""graph net(%x: int8[1,16]) -> (%y) {{
      const %w: int8[16,16] = [{weights}]
      {body}
    }}"""


def dense(result: str, operand: str) -> str:
    """A layer whose result is int8 again."""
    return (
        f"%{result}_sum = dense(%{operand}, %w)\n"
        f'%{result} = cast(%{result}_sum) {{dtype="int8", saturate=true}}'
    )


def test_inputs_and_outputs_take_no_room() -> None:
    _, plan = planned(chain(dense("y", "x")))
    assert plan.arena_bytes == 0
    assert not plan.values


def test_a_chain_needs_two_places() -> None:
    _, plan = planned(chain(dense("a", "x"), dense("b", "a"), dense("c", "b"), dense("y", "c")))
    assert {name: p.offset for name, p in plan.values.items()} == {"a": 0, "b": 16, "c": 0}
    assert plan.arena_bytes == 32
    assert (plan.values["b"].first, plan.values["b"].last) == (1, 2)


def test_a_value_read_late_keeps_its_place() -> None:
    _, plan = planned(
        chain(
            dense("a", "x"), dense("b", "a"), dense("c", "b"), dense("d", "c"), "%y = add(%d, %a)"
        )
    )
    assert plan.values["a"].last == 3
    assert plan.arena_bytes == 48


def test_an_elementwise_result_takes_its_operands_place() -> None:
    module, plan = planned(
        chain(
            dense("a", "x"),
            dense("b", "a"),
            dense("c", "b"),
            "%s = add(%c, %a)",
            dense("y", "s"),
        )
    )
    (kernel,) = plan.in_place
    assert module.function(kernel).in_place
    assert plan.arena_bytes == 32
    assert plan.values["s"].offset == plan.values["a"].offset


def test_an_operand_that_lives_on_is_not_overwritten() -> None:
    _, plan = planned(
        chain(
            dense("a", "x"),
            "%r = reshape(%a) {shape=[1, 16]}",
            "%s = add(%r, %r)",
            dense("b", "s"),
            "%y = add(%b, %a)",
        )
    )
    assert not plan.in_place
    assert plan.values["s"].offset != plan.values["a"].offset


def test_workspace_lives_during_its_call_only() -> None:
    weights = ", ".join(["1"] * 36)
    module, plan = planned(
        f"""graph net(%x: int8[1,4,4,2]) -> (%y) {{
          const %w: int8[2,3,3,2] = [{weights}]
          %a_sum = conv2d(%x, %w) {{padding=[1, 1, 1, 1]}}
          %a = cast(%a_sum) {{dtype="int8"}}
          %b_sum = conv2d(%a, %w) {{padding=[1, 1, 1, 1]}}
          %y = cast(%b_sum) {{dtype="int8"}}
        }}"""
    )
    first, second = (call.function for call in module.calls)
    assert plan.values["a"].size == 32
    assert plan.workspaces[first].size == plan.workspaces[second].size == 72
    assert plan.workspaces[first].offset == plan.workspaces[second].offset == 0
    assert plan.arena_bytes == 72 + 32
