"""The rules of the graph IR, one small function each.

``verify_graph`` checks a whole graph and raises at the first broken rule: ModelError for a graph
that came from the user, InternalError when it is told which pass made the graph. Tests run it after
every pass. Element types of a quantized node are what the model declares; for all others the
operator's type rule decides. Sizes are limited, since nobody else looks before memory is asked for.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from utvm.ir.dtype import DType, dtype_of
from utvm.ir.graph import Attrs, Graph, Node, TensorType, Value, is_quantized
from utvm.support.errors import InternalError, ModelError, UnsupportedError, UtvmError
from utvm.support.text import identifier, printable

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
MAX_RANK = 8
MAX_ELEMENTS = 2**31 - 1
# Far more than any microcontroller has; the compiler itself may then hold constants and tables.
MAX_TOTAL_BYTES = 256 * 2**20
MAX_OPERANDS = 1024
MAX_SCALE = float(np.finfo(np.float32).max)
MIN_SCALE = float(np.finfo(np.float32).smallest_subnormal)


Data = np.ndarray | None
Check = Callable[[Sequence[TensorType], Sequence[Data], Any], None]
"""What a plain node needs beside its type rule; gets the data of operands that are constants."""


class Operator(Protocol):
    """What the verifier and the parser need to know of an operator."""

    @property
    def attrs(self) -> type[Attrs]: ...

    @property
    def infer(self) -> Callable[[Sequence[TensorType], Any], tuple[TensorType, ...]]: ...

    @property
    def check(self) -> Check | None: ...


FindOperator = Callable[[str], Operator]

_RULE_FAILURES = (ValueError, IndexError, KeyError, TypeError, ZeroDivisionError, OverflowError)


def verify_graph(
    graph: Graph, find_op: FindOperator, *, after: str = "", plain: bool = False
) -> None:
    """Raises if the graph breaks a rule. ``after`` names the pass that made it, if one did.

    ``plain``: the graph is legalized, so no value may carry quantization.
    """
    try:
        _verify(graph, find_op)
        if plain:
            _check_plain(graph)
    except UtvmError as error:
        if after:
            raise InternalError(f"after {after}: {error}") from None
        raise


def _verify(graph: Graph, find_op: FindOperator) -> None:
    for value in graph.values.values():
        check_value(value)
    _check_total(graph)
    _check_interface(graph)
    _check_constants(graph)
    _check_order(graph)
    for node in graph.nodes:
        _check_node(graph, node, find_op)
    check_plain_nodes(graph, find_op)
    _check_groups(graph)


def infer_types(op: Operator, inputs: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    """The result types by the operator's rule, or ModelError.

    Rules are written for attributes that an importer checked. A text can say anything, so what a
    rule trips over (an axis out of range, an unknown element type) is the text's mistake here.
    """
    try:
        return op.infer(inputs, attrs)
    except _RULE_FAILURES as error:
        raise ModelError(
            "the operator does not take these operands with these attributes",
            found=printable(f"{', '.join(map(str, inputs))}: {error}", 100),
        ) from None


def check_plain_nodes(graph: Graph, find_op: FindOperator) -> None:
    """What operators ask of nodes without quantization: element types, constants in range."""
    for node in graph.nodes:
        check = find_op(node.op).check
        if check is None or is_quantized(graph, node):
            continue
        types = [value.type for value in graph.inputs_of(node)]
        try:
            check(types, [graph.constants.get(name) for name in node.inputs], node.attrs)
        except UtvmError as error:
            error.where = error.where or node.source or f"{node.name} ({printable(node.op)})"
            raise


def check_value(value: Value) -> None:
    """Name, shape and quantization of one value."""
    where = f"%{printable(value.name)}"
    _expect(NAME.fullmatch(value.name) is not None, where, "the name is not an identifier")
    shape = value.shape
    _expect(len(shape) <= MAX_RANK, where, "too many dimensions", str(MAX_RANK), str(len(shape)))
    _expect(min(shape, default=1) >= 1, where, "a dimension is not positive", found=str(value.type))
    small = math.prod(shape) <= MAX_ELEMENTS
    _expect(small, where, "the tensor is too large", f"{MAX_ELEMENTS} elements", str(value.type))
    if value.quantization is not None:
        _check_quantization(value, where)


def _check_total(graph: Graph) -> None:
    total_bytes = sum(value.type.size_bytes for value in graph.values.values())
    if total_bytes > MAX_TOTAL_BYTES:
        raise UnsupportedError(
            "the tensors of this model are too large for a microcontroller",
            where=printable(graph.name),
            expected=f"at most {MAX_TOTAL_BYTES} bytes altogether",
            found=f"{total_bytes} bytes",
        )


def _check_quantization(value: Value, where: str) -> None:
    q = value.quantization
    assert q is not None
    _expect(value.dtype.is_integer, where, "only integers are quantized", found=value.dtype.value)
    entries = 1
    if q.axis is not None:
        inside = 0 <= q.axis < len(value.shape)
        _expect(inside, where, "no such quantized axis", f"below {len(value.shape)}", str(q.axis))
        entries = value.shape[q.axis]
    counts = (len(q.scales), len(q.zero_points))
    _expect(counts == (entries, entries), where, "scales and zero points do not fit the shape",
            str(entries), f"{counts[0]} and {counts[1]}")  # fmt: skip
    usable = all(MIN_SCALE <= scale <= MAX_SCALE for scale in q.scales)
    _expect(usable, where, "a scale is not a positive finite float32")
    bounds = (value.dtype.minimum, value.dtype.maximum)
    inside = all(bounds[0] <= zero <= bounds[1] for zero in q.zero_points)
    _expect(inside, where, "a zero point is out of range", f"{bounds[0]} to {bounds[1]}")


def _check_interface(graph: Graph) -> None:
    """Inputs are values of their own; names of inputs and outputs become C names."""
    _expect(bool(graph.outputs), graph.name, "the graph has no output")
    _expect(len(set(graph.inputs)) == len(graph.inputs), graph.name, "an input appears twice")
    for name in (graph.name, *graph.inputs, *graph.outputs):
        c_name = NAME.fullmatch(name) is not None and name == name.lower()
        _expect(c_name, f"%{printable(name)}", "a name that becomes a C name must be lower case",
                identifier(name, 64), printable(name))  # fmt: skip
    for name in (*graph.inputs, *graph.outputs):
        _expect(name in graph.values, f"%{name}", "the value is not declared")
    for name in graph.inputs:
        _expect(name not in graph.constants, f"%{name}", "an input cannot be a constant")


def _check_constants(graph: Graph) -> None:
    """The data of every constant is what its value says."""
    for name, data in graph.constants.items():
        where = f"%{printable(name)}"
        _expect(name in graph.values, where, "the constant is not declared")
        known = data.dtype.name in {dtype.value for dtype in DType}
        _expect(known, where, "constants cannot have this type", found=data.dtype.name)
        declared = graph.values[name].type
        found = TensorType(tuple(data.shape), dtype_of(data))
        _expect(found == declared, where, "the constant is not what is declared",
                str(declared), str(found))  # fmt: skip


def _check_order(graph: Graph) -> None:
    """Values are made once, before they are used, and none is left over."""
    known = set(graph.inputs) | set(graph.constants)
    for node in graph.nodes:
        for name in node.inputs:
            _expect(name in known, node.name, "an operand is not made before", found=f"%{name}")
        for name in node.outputs:
            _expect(name in graph.values, node.name, "the result is not declared", found=name)
            _expect(name not in known, node.name, "the value is made twice", found=f"%{name}")
            known.add(name)
    for name in graph.outputs:
        _expect(name in known, f"%{name}", "nothing makes this output")
    for name, value in graph.values.items():
        _expect(name in known, f"%{name}", "nothing makes this value")
        _expect(value.name == name, f"%{name}", "the value bears another name", found=value.name)


def _check_node(graph: Graph, node: Node, find_op: FindOperator) -> None:
    """Operands, attributes and result types of one node."""
    count = len(node.inputs)
    _expect(count <= MAX_OPERANDS, node.name, "too many operands", str(MAX_OPERANDS), str(count))
    try:
        op = find_op(node.op)
        expected, found = op.attrs.__name__, type(node.attrs).__name__
        _expect(expected == found, node.name, "attributes of another operator", expected, found)
        types = infer_types(op, [value.type for value in graph.inputs_of(node)], node.attrs)
    except UtvmError as error:
        error.where = error.where or f"{node.name} ({printable(node.op)})"
        raise
    _expect(len(types) == len(node.outputs), node.name, "wrong number of results",
            str(len(types)), str(len(node.outputs)))  # fmt: skip
    quantized = is_quantized(graph, node)
    for value, inferred in zip(graph.outputs_of(node), types, strict=True):
        fits = value.shape == inferred.shape if quantized else value.type == inferred
        _expect(fits, node.name, "the result is not of the declared type", str(inferred),
                str(value.type))  # fmt: skip


def _check_groups(graph: Graph) -> None:
    """A fused kernel's nodes are adjacent, and only its last one is seen from outside."""
    if not any(node.group for node in graph.nodes):
        return
    runs = list(_runs(graph.nodes))
    names = [run[0].group for run in runs if run[0].group]
    for run in runs:
        group = run[0].group
        if not group:
            alias = run[0].op == "reshape"
            _expect(alias, run[0].name, "the node belongs to no kernel", found=run[0].op)
            continue
        _expect(identifier(group, 64) == group, group, "the kernel's name is not an identifier")
        _expect(names.count(group) == 1, group, "the kernel's nodes are not adjacent")
        hidden = {name for node in run[:-1] for name in node.outputs}
        outside = {n for other in runs if other is not run for node in other for n in node.inputs}
        seen = sorted(hidden & (outside | set(graph.outputs)))
        _expect(not seen, group, "a value inside the kernel is read outside", found=str(seen[:1]))


def _runs(nodes: Sequence[Node]) -> Iterator[list[Node]]:
    """Adjacent nodes of one kernel; a node without a kernel stands alone."""
    run: list[Node] = []
    for node in nodes:
        if run and (not node.group or node.group != run[0].group):
            yield run
            run = []
        run.append(node)
    if run:
        yield run


def _check_plain(graph: Graph) -> None:
    for value in graph.values.values():
        bare = value.quantization is None
        _expect(bare, f"%{value.name}", "a legalized value still carries quantization")


def _expect(condition: bool, where: str, what: str, expected: str = "", found: str = "") -> None:
    if not condition:
        raise ModelError(what, where=where, expected=expected, found=found)
