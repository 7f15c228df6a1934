"""fuse-ops: nodes are grouped into kernels; only values between kernels get memory.

A kernel is one anchor (any operator) followed by elementwise operators on its result. An
elementwise node joins the kernel that makes one of its operands when nothing else reads that
operand and the shape stays; other operands made by purely elementwise kernels, likewise read
nowhere else, are drawn in too. So a convolution takes its requantization, its activation and the
residual addition behind it:

    %1 = conv2d(...)            @conv2d_1
    %2 = requantize(%1, ...)    @conv2d_1
    %3 = requantize(%skip, ...) @conv2d_1
    %4 = add(%2, %3)            @conv2d_1

``reshape`` belongs to no kernel. Nodes come out sorted so that a kernel's nodes are adjacent.
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
        if node.op == "reshape":
            kernels.append(_Kernel([node], False))
            continue
        op = find_op(node.op)
        kernel = _Kernel([node], op.elementwise)
        joined = _operand_kernels(graph, node, making, readers) if op.elementwise else []
        for other in joined:
            kernels.remove(other)
        nodes = [n for other in joined for n in other.nodes]
        kernel = _Kernel([*nodes, node], op.elementwise and all(k.elementwise for k in joined))
        kernels.append(kernel)
        for name in node.outputs:
            making[name] = kernel
    return replace(graph, nodes=_labelled(kernels, find_op))


def _operand_kernels(
    graph: Graph, node: Node, making: dict[str, _Kernel], readers: dict[str, int]
) -> list[_Kernel]:
    """The kernels that ``node`` continues: at most one with an anchor, first; the rest elementwise.
    """
    shape = graph.outputs_of(node)[0].shape
    anchored: list[_Kernel] = []
    elementwise: list[_Kernel] = []
    for name in dict.fromkeys(node.inputs):
        kernel = making.get(name)
        private = readers.get(name) == 1 and name not in graph.outputs
        if kernel is None or not private or len(kernel.nodes[-1].outputs) > 1:
            continue
        if graph.values[name].shape != shape:
            continue
        if kernel.elementwise:
            elementwise.append(kernel)
        elif not anchored:
            anchored.append(kernel)
    return anchored + elementwise


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
