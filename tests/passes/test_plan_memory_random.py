"""Plans of random networks: nothing that lives at the same time overlaps, nothing is lost.

A network is run symbolically: every call fills its results and its workspace with marks and finds
the marks of its operands where the plan says they are. That holds for sharing in place, too.
"""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from utvm.ir.dtype import DType
from utvm.ir.loop import Buffer, Function, KernelCall, Module
from utvm.ir.memory import MemoryPlan, Placement
from utvm.passes.plan_memory import ALIGNMENT, plan_memory

INT8 = DType.INT8


@st.composite
def modules(draw: st.DrawFn) -> Module:
    """Calls that read any earlier values, work in place where they may, reshape, use workspace."""
    sizes = {"x": draw(st.integers(1, 40))}
    functions: list[Function] = []
    calls: list[KernelCall] = []
    aliases: dict[str, str] = {}
    for number in range(draw(st.integers(1, 8))):
        operands = tuple(draw(st.lists(st.sampled_from(sorted(sizes)), min_size=1, max_size=3)))
        result, name = f"v{number}", f"f_{number}"
        likely = sizes[operands[0]]
        sizes[result] = draw(st.sampled_from([likely, likely, 8, 100]))
        in_place = tuple(
            k
            for k, operand in enumerate(operands)
            if sizes[operand] == sizes[result] and draw(st.booleans())
        )
        scratch = draw(st.sampled_from([0, 0, 5, 64]))
        workspace = (Buffer("rows", INT8, (scratch,), "workspace"),) if scratch else ()
        functions.append(Function(name, (), (), (), workspace, in_place=in_place))
        calls.append(KernelCall(name, operands, (result,)))
        if draw(st.booleans()):
            aliases[f"{result}_view"] = result
            sizes[f"{result}_view"] = sizes[result]
    outputs = (calls[-1].outputs[0],)
    tensors = {name: Buffer(name, INT8, (size,), "workspace") for name, size in sizes.items()}
    return Module("net", ("x",), outputs, tuple(functions), tuple(calls), tensors, aliases)


class Arena:
    """The arena's bytes; each holds the mark of what was written there last."""

    def __init__(self, plan: MemoryPlan) -> None:
        self.bytes: list[str] = [""] * plan.arena_bytes

    def fill(self, place: Placement, size: int, mark: str) -> None:
        assert place.offset % ALIGNMENT == 0
        assert place.offset + size <= len(self.bytes)
        self.bytes[place.offset : place.offset + size] = [mark] * size

    def holds(self, place: Placement, size: int, mark: str) -> bool:
        return self.bytes[place.offset : place.offset + size] == [mark] * size


@settings(max_examples=300, deadline=None, derandomize=True)
@given(modules())
def test_every_operand_is_where_it_was_put(module: Module) -> None:
    plan = plan_memory(module)
    arena = Arena(plan)
    fixed = {"x", *module.outputs}
    for call in module.calls:
        operands = [r for r in dict.fromkeys(map(module.root, call.inputs)) if r not in fixed]
        result = call.outputs[0]
        size = module.tensors[result].size_bytes
        if call.function in plan.workspaces:
            scratch = module.function(call.function).workspace[0].size_bytes
            arena.fill(plan.workspaces[call.function], scratch, "scratch")
        if result not in fixed and call.function not in plan.in_place:
            arena.fill(plan.values[result], size, result)  # as a kernel that reads last might
        for operand in operands:
            expected = module.tensors[operand].size_bytes
            assert arena.holds(plan.values[operand], expected, operand), (call, operand)
        if result not in fixed:
            arena.fill(plan.values[result], size, result)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(modules())
def test_the_arena_is_as_large_as_what_it_holds(module: Module) -> None:
    plan = plan_memory(module)
    placed = [*plan.values.values(), *plan.workspaces.values()]
    assert plan.arena_bytes == max((p.offset + p.size for p in placed), default=0)
    assert plan == plan_memory(module)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(modules())
def test_only_a_dying_elementwise_operand_is_overwritten(module: Module) -> None:
    plan = plan_memory(module)
    for number, call in enumerate(module.calls):
        if call.function not in plan.in_place:
            continue
        result = call.outputs[0]
        roots = [module.root(name) for name in call.inputs]
        hosts = [
            k
            for k, root in enumerate(roots)
            if root in plan.values and plan.values[root].offset == plan.values[result].offset
        ]
        assert len(hosts) == 1 and hosts[0] in module.function(call.function).in_place
        later = [module.root(name) for other in module.calls[number + 1 :] for name in other.inputs]
        assert roots[hosts[0]] not in later
