"""fuse-ops: nodes are grouped into kernels; only values between kernels get memory.

A kernel is one anchor (any operator) with elementwise operators behind it. An elementwise node
joins the kernel of an operand that nothing else reads; operands made by purely elementwise kernels
are drawn in too. So a convolution takes its rescale and the residual addition behind it:

    %1 = conv2d(...)            @conv2d_1
    %2 = requantize(%1, ...)    @conv2d_1
    %3 = requantize(%skip, ...) @conv2d_1
    %4 = add(%2, %3)            @conv2d_1

``reshape`` belongs to no kernel. A kernel's nodes come out adjacent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from utvm.ir.graph import Graph, Node
from utvm.op.base import Op


@dataclass(eq=False)
class _Kernel:
    """Nodes of one kernel in order; ``elementwise`` if all are."""

    nodes: list[Node]
    elementwise: bool


def fuse_ops(graph: Graph, find_op: Callable[[str], Op]) -> Graph:
    """The same nodes, reordered and labelled with their kernel's name."""
    kernels: list[_Kernel] = []
    making: dict[str, _Kernel] = {}
    readers = {name: len(nodes) for name, nodes in graph.consumers().items()}
    for node in graph.nodes:
        op = find_op(node.op)
        kernel = _Kernel([node], op.elementwise)
        if op.elementwise:
            _join_operands(graph, kernel, kernels, making, readers)
        kernels.append(kernel)
        if node.op != "reshape":
            for member in kernel.nodes:
                making |= dict.fromkeys(member.outputs, kernel)
    return replace(graph, nodes=_labelled(kernels, find_op))


def _join_operands(
    graph: Graph,
    kernel: _Kernel,
    kernels: list[_Kernel],
    making: dict[str, _Kernel],
    readers: dict[str, int],
) -> None:
    """Puts the kernels that make the operands of a new elementwise kernel in front of it.

    At most one of them may have an anchor, the last one. Of another one, what follows its narrowest
    value is taken over, so that this value goes through memory and not a wider one.
    """
    node = kernel.nodes[0]
    shape = graph.outputs_of(node)[0].shape
    private = [
        making[name]
        for name in dict.fromkeys(node.inputs)
        if name in making
        and readers.get(name) == 1
        and name not in graph.outputs
        and len(making[name].nodes[-1].outputs) == 1
        and graph.values[name].shape == shape
    ]
    private.sort(key=kernels.index)
    anchored = [other for other in private if not other.elementwise]
    for other in anchored[:-1]:
        kernel.nodes = _wider_tail(graph, other) + kernel.nodes
    for other in private:
        if other.elementwise:
            kernels.remove(other)
            kernel.nodes = other.nodes + kernel.nodes
    for other in anchored[-1:]:
        kernels.remove(other)
        kernel.nodes = other.nodes + kernel.nodes
        kernel.elementwise = False


def _wider_tail(graph: Graph, kernel: _Kernel) -> list[Node]:
    """Takes off a kernel's end the chain of nodes behind its narrowest value."""
    cut = best = len(kernel.nodes)
    size = _result_bytes(graph, kernel.nodes[-1])
    while cut > 1:
        last, before = kernel.nodes[cut - 1], kernel.nodes[cut - 2]
        others = set(last.inputs) - set(before.outputs) - set(graph.constants)
        if not set(before.outputs) & set(last.inputs) or others:
            break
        cut -= 1
        if _result_bytes(graph, before) < size:
            best, size = cut, _result_bytes(graph, before)
    tail = kernel.nodes[best:]
    del kernel.nodes[best:]
    return tail


def _result_bytes(graph: Graph, node: Node) -> int:
    return graph.outputs_of(node)[0].type.size_bytes


def _labelled(kernels: list[_Kernel], find_op: Callable[[str], Op]) -> tuple[Node, ...]:
    nodes: list[Node] = []
    number = 0
    for kernel in kernels:
        if kernel.nodes[0].op == "reshape":
            nodes += kernel.nodes
            continue
        anchor = kernel.nodes[-1] if kernel.elementwise else _anchor(kernel, find_op)
        group = f"{anchor.op}_{number}"
        number += 1
        nodes += [replace(node, group=group) for node in kernel.nodes]
    return tuple(nodes)


def _anchor(kernel: _Kernel, find_op: Callable[[str], Op]) -> Node:
    return next(node for node in kernel.nodes if not find_op(node.op).elementwise)
