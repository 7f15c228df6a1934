"""plan-memory: every value between kernels gets an offset in one static arena.

A value lives from the call that writes it to the last call that reads it; a workspace lives during
its call. Things whose lives overlap must not overlap in memory. Largest first, each at the lowest
offset that is free during its life (first fit by decreasing size). An elementwise operand whose
life ends where the result's begins lends its place to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from utvm.ir.loop import Buffer, Function, KernelCall, Module
from utvm.ir.memory import MemoryPlan, Placement

ALIGNMENT = 8


@dataclass(frozen=True)
class _Request:
    """Something that needs ``size`` bytes during the calls [first, last]."""

    name: str
    size: int
    first: int
    last: int


def plan_memory(module: Module) -> MemoryPlan:
    """The arena of a module. Deterministic: equal modules get equal plans."""
    lives = _lives(module)
    shared = _in_place(module, lives)
    requests = _value_requests(module, lives, shared)
    scratch = [
        _Request(call.function, _workspace_bytes(module.function(call.function)), i, i)
        for i, call in enumerate(module.calls)
    ]
    placed = _first_fit([*requests, *(r for r in scratch if r.size)])
    values, workspaces = placed[: len(requests)], placed[len(requests) :]
    by_name = {p.name: p for p in values}
    for name, host in shared.items():
        by_name[name] = by_name[_final(shared, host)]
    return MemoryPlan(
        max((p.offset + p.size for p in placed), default=0),
        by_name,
        {p.name: p for p in workspaces},
        frozenset(_writer(module, name) for name in shared),
    )


def _lives(module: Module) -> dict[str, tuple[int, int]]:
    """First and last call of every value that needs a place, by root name."""
    fixed = {module.root(name) for name in (*module.inputs, *module.outputs)}
    lives: dict[str, tuple[int, int]] = {}
    for i, call in enumerate(module.calls):
        for name in (*call.inputs, *call.outputs):
            root = module.root(name)
            if root not in fixed:
                lives[root] = (lives.get(root, (i, i))[0], i)
    return lives


def _in_place(module: Module, lives: dict[str, tuple[int, int]]) -> dict[str, str]:
    """Results that take over an operand's memory: result -> operand, by root name."""
    shared: dict[str, str] = {}
    for i, call in enumerate(module.calls):
        function = module.function(call.function)
        if len(call.outputs) != 1 or module.root(call.outputs[0]) not in lives:
            continue
        result = module.root(call.outputs[0])
        roots = [module.root(name) for name in call.inputs]
        for k in function.in_place:
            operand = roots[k]
            same_size = _size(module, operand) == _size(module, result)
            if (
                operand in lives
                and lives[operand][1] == i
                and same_size
                and roots.count(operand) == 1
            ):
                shared[result] = operand
                break
    return shared


def _value_requests(
    module: Module, lives: dict[str, tuple[int, int]], shared: dict[str, str]
) -> list[_Request]:
    extended = dict(lives)
    for name, host in shared.items():
        final = _final(shared, host)
        extended[final] = (extended[final][0], max(extended[final][1], lives[name][1]))
    return [
        _Request(name, _size(module, name), *extended[name]) for name in lives if name not in shared
    ]


def _final(shared: dict[str, str], name: str) -> str:
    while name in shared:
        name = shared[name]
    return name


def _writer(module: Module, name: str) -> str:
    call: KernelCall = next(
        c for c in module.calls if name in {module.root(output) for output in c.outputs}
    )
    return call.function


def _size(module: Module, name: str) -> int:
    return module.tensors[name].size_bytes


def _workspace_bytes(function: Function) -> int:
    return sum(_aligned(_bytes(buffer)) for buffer in function.workspace)


def _bytes(buffer: Buffer) -> int:
    return buffer.size_bytes


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _first_fit(requests: Sequence[_Request]) -> list[Placement]:
    """A placement for each request, in the order given."""
    placed: dict[int, Placement] = {}
    order = sorted(range(len(requests)), key=lambda i: (-requests[i].size, requests[i].first, i))
    for i in order:
        request = requests[i]
        size = _aligned(request.size)
        rivals = sorted(
            (p for p in placed.values() if p.first <= request.last and request.first <= p.last),
            key=lambda p: p.offset,
        )
        offset = 0
        for rival in rivals:
            if rival.offset >= offset + size:
                break
            offset = max(offset, rival.offset + rival.size)
        placed[i] = Placement(request.name, offset, size, request.first, request.last)
    return [placed[i] for i in range(len(requests))]
