"""The graph IR: a network as SSA values and operators, in frozen dataclasses.

A ``Graph`` is a list of ``Node`` in execution order. Values are named; names are C identifiers that
the importer made, never text of the model as it stood. A value carries its shape, its element type
and, where the model gives it, its quantization. ``legalize`` turns quantized nodes into plain
integer ones, so after it no value carries quantization. ``fuse_ops`` labels nodes with the kernel
(``group``) they are part of. Transformations are functions from Graph to Graph; nothing is edited
in place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from math import prod

import numpy as np

from utvm.ir.dtype import DType


@dataclass(frozen=True)
class Quantization:
    """Affine quantization: real = scale * (integer - zero_point), per tensor or along one axis.

    ``axis`` is None for per-tensor quantization; then both tuples have one entry.
    """

    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    axis: int | None = None

    @property
    def scale(self) -> float:
        return self.scales[0]

    @property
    def zero_point(self) -> int:
        return self.zero_points[0]


@dataclass(frozen=True)
class TensorType:
    """Shape (no dynamic dimensions) and element type."""

    shape: tuple[int, ...]
    dtype: DType

    @property
    def elements(self) -> int:
        return prod(self.shape)

    @property
    def size_bytes(self) -> int:
        return self.elements * self.dtype.size_bytes

    def __str__(self) -> str:
        return f"{self.dtype.value}[{','.join(map(str, self.shape))}]"


@dataclass(frozen=True)
class Value:
    """One SSA value: a graph input, a constant, or the result of a node."""

    name: str
    type: TensorType
    quantization: Quantization | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        return self.type.shape

    @property
    def dtype(self) -> DType:
        return self.type.dtype

    def describe(self) -> str:
        """``int8[1,8] scale 0.5 zero point 3``, for people."""
        if self.quantization is None:
            return str(self.type)
        if self.quantization.axis is not None:
            return f"{self.type} scale per channel"
        scale, zero_point = float(self.quantization.scale), int(self.quantization.zero_point)
        return f"{self.type} scale {scale:.9g} zero point {zero_point}"


@dataclass(frozen=True)
class Attrs:
    """Base of every operator's attributes: a frozen dataclass of numbers, texts, tuples of them."""


@dataclass(frozen=True)
class Node:
    """One operator applied to values.

    ``source`` says where it came from ("CONV_2D #3"), for people. ``group`` is the kernel it
    belongs to after fusion, empty before. ``detail`` keeps for the comments of the generated C what
    ``legalize`` takes away: operand types with their quantization. The text form leaves it out.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attrs: Attrs
    source: str = ""
    group: str = ""
    detail: str = ""


@dataclass(frozen=True, eq=False)
class Graph:
    """A network. ``values`` holds every value by name, ``constants`` the data of some of them."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: tuple[Node, ...]
    values: Mapping[str, Value]
    constants: Mapping[str, np.ndarray] = field(default_factory=dict)

    def producers(self) -> dict[str, Node]:
        """The node that makes each value; graph inputs and constants are absent."""
        return {name: node for node in self.nodes for name in node.outputs}

    def consumers(self) -> dict[str, list[Node]]:
        """The nodes that read each value, in order; values nobody reads are absent."""
        table: dict[str, list[Node]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(node.inputs):
                table.setdefault(name, []).append(node)
        return table

    def inputs_of(self, node: Node) -> tuple[Value, ...]:
        return tuple(self.values[name] for name in node.inputs)

    def outputs_of(self, node: Node) -> tuple[Value, ...]:
        return tuple(self.values[name] for name in node.outputs)

    def with_nodes(self, nodes: tuple[Node, ...]) -> Graph:
        """The same graph with other nodes, without the values and constants that nothing uses."""
        graph = replace(self, nodes=nodes)
        used = set(graph.used_names())
        return replace(
            graph,
            values={name: value for name, value in self.values.items() if name in used},
            constants={name: data for name, data in self.constants.items() if name in used},
        )

    def used_names(self) -> Iterator[str]:
        yield from self.inputs
        yield from self.outputs
        for node in self.nodes:
            yield from node.inputs
            yield from node.outputs


def is_quantized(graph: Graph, node: Node) -> bool:
    """Whether a node computes on quantized values, and so waits for ``legalize``."""
    names = node.inputs + node.outputs
    return any(graph.values[name].quantization is not None for name in names)
