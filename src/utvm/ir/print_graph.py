"""The graph IR as text that ``parse_graph`` reads back.

In: any graph, before or after a pass. Out: its text, one node per line. Small constants stand in
the text, larger ones only with their type: their data is ``graph.constants``, handed to the parser
beside the text.

    graph net(%x: int8[1,8] q(scale=0.5, zero_point=3)) -> (%y) {
      const %bound: int8[1] = [6]
      %y: int8[1,8] = minimum(%x, %bound) @minimum_0 from "MINIMUM #0"
    }
"""

from __future__ import annotations

import json

import numpy as np

from utvm.ir.attributes import format_attrs
from utvm.ir.graph import Graph, Node, Quantization, Value
from utvm.support.text import printable

INLINE_ELEMENTS = 8
"""Constants up to this size stand in the text."""


def print_graph(graph: Graph) -> str:
    """The text of a graph; ends with a newline."""
    inputs = ", ".join(_declared(graph.values[name]) for name in graph.inputs)
    outputs = ", ".join(f"%{name}" for name in graph.outputs)
    lines = [f"graph {graph.name}({inputs}) -> ({outputs}) {{"]
    lines += [
        f"  const {_declared(value)}{_data(graph.constants[name])}"
        for name, value in graph.values.items()
        if name in graph.constants
    ]
    lines += [f"  {_node(graph, node)}" for node in graph.nodes]
    return "\n".join([*lines, "}"]) + "\n"


def _declared(value: Value) -> str:
    quantization = value.quantization
    suffix = f" {format_quantization(quantization)}" if quantization else ""
    return f"%{value.name}: {value.type}{suffix}"


def format_quantization(quantization: Quantization) -> str:
    """``q(scale=..., zero_point=...)``, or with lists and the axis."""
    if quantization.axis is None:
        scale = repr(float(quantization.scale))
        return f"q(scale={scale}, zero_point={int(quantization.zero_point)})"
    scales = ", ".join(repr(float(scale)) for scale in quantization.scales)
    zeros = ", ".join(str(int(zero)) for zero in quantization.zero_points)
    return f"q(scales=[{scales}], zero_points=[{zeros}], axis={quantization.axis})"


def _data(data: np.ndarray) -> str:
    return "" if data.size > INLINE_ELEMENTS else f" = {format_data(data)}"


def format_data(data: np.ndarray) -> str:
    """``[..]`` with the elements in row-major order."""
    return f"[{', '.join(_element(item) for item in data.reshape(-1))}]"


def _element(item: np.generic) -> str:
    """The shortest decimal that reads back as the same element."""
    return str(item) if isinstance(item, np.floating) else str(int(item.item()))


def _node(graph: Graph, node: Node) -> str:
    results = ", ".join(_declared(graph.values[name]) for name in node.outputs)
    operands = ", ".join(f"%{name}" for name in node.inputs)
    attrs = format_attrs(node.attrs)
    text = f"{results} = {node.op}({operands})"
    if attrs:
        text += f" {{{attrs}}}"
    if node.name != node.outputs[0]:
        text += f" as {node.name}"
    if node.group:
        text += f" @{node.group}"
    if node.source:
        text += f" from {json.dumps(printable(node.source))}"
    return text
