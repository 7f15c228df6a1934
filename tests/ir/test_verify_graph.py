"""Every rule of the graph verifier: a graph that breaks it, and what the verifier says.

The graphs are made directly, since neither the parser nor the builder lets most of them through.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from utvm.ir.dtype import DType
from utvm.ir.graph import Graph, Node, Quantization, TensorType, Value
from utvm.ir.verify_graph import verify_graph
from utvm.op.base import NoAttrs
from utvm.op.cast import CastAttrs
from utvm.op.elementwise import BinaryAttrs
from utvm.op.registry import find_op
from utvm.support.errors import InternalError, ModelError

INT8 = TensorType((2, 3), DType.INT8)


def value(name: str, type: TensorType = INT8, q: Quantization | None = None) -> Value:
    return Value(name, type, q)


def node(name: str, *inputs: str, op: str = "copy", group: str = "") -> Node:
    attrs = NoAttrs() if op == "copy" else BinaryAttrs()
    return Node(name, op, inputs, (name,), attrs, group=group)


def graph(*nodes: Node, outputs: tuple[str, ...] = ("y",)) -> Graph:
    """x -> nodes -> outputs; every value is int8[2,3]."""
    names = ["x", *(name for node in nodes for name in node.outputs)]
    return Graph("net", ("x",), outputs, nodes, {name: value(name) for name in names})


GOOD = graph(node("a", "x"), node("y", "a", "x", op="add"))
CONSTANT = replace(
    GOOD,
    values={**GOOD.values, "c": value("c")},
    constants={"c": np.zeros((2, 3), np.int8)},
)


def with_value(changed: Value) -> Graph:
    return replace(GOOD, values={**GOOD.values, changed.name: changed})


BROKEN = {
    "a: an operand is not made before; found %b": graph(
        node("a", "b"), node("b", "a"), outputs=("a",)
    ),
    "a: the value is made twice; found %a": graph(
        node("a", "x"), node("a", "x"), outputs=("a",)
    ),
    "x: the value is made twice; found %x": graph(node("x", "x"), outputs=("x",)),
    "%y: the value is not declared": graph(node("a", "x")),
    "net: the graph has no output": replace(GOOD, outputs=()),
    "net: an input appears twice": replace(GOOD, inputs=("x", "x")),
    "%Net: a name that becomes a C name must be lower case; expected net; found Net": replace(
        GOOD, name="Net"
    ),
    "%z: nothing makes this value": with_value(value("z")),
    "%x: an input cannot be a constant": replace(
        GOOD, constants={"x": np.zeros((2, 3), np.int8)}
    ),
    "%c: the constant is not declared": replace(GOOD, constants={"c": np.zeros(1, np.int8)}),
    "%c: constants cannot have this type; found float64": replace(
        CONSTANT, constants={"c": np.zeros((2, 3))}
    ),
    "%c: the constant is not what is declared; expected int8[2,3]; found int8[3,2]": replace(
        CONSTANT, constants={"c": np.zeros((3, 2), np.int8)}
    ),
    "a: the result is not of the declared type; expected int8[2,3]; found int8[3,2]": with_value(
        value("a", TensorType((3, 2), DType.INT8))
    ),
    "y (add): element types differ; expected int16; found int8": replace(
        graph(
            Node("a", "cast", ("x",), ("a",), CastAttrs("int16")),
            node("y", "a", "x", op="add"),
        ),
        values={**GOOD.values, "a": value("a", TensorType((2, 3), DType.INT16))},
    ),
    "y: attributes of another operator; expected CastAttrs; found NoAttrs": graph(
        replace(node("y", "x"), op="cast")
    ),
    "y: wrong number of results; expected 1; found 2": replace(
        graph(replace(node("y", "x"), outputs=("y", "z")))
    ),
    "%a: scales and zero points do not fit the shape; expected 2; found 3 and 3": with_value(
        value("a", q=Quantization((0.5,) * 3, (0,) * 3, 0))
    ),
    "%a: no such quantized axis; expected below 2; found 2": with_value(
        value("a", q=Quantization((0.5,), (0,), 2))
    ),
    "a: the node belongs to no kernel; found copy": graph(
        node("a", "x"), node("y", "a", group="copy_0")
    ),
    "copy_0: the kernel's nodes are not adjacent": graph(
        node("a", "x", group="copy_0"),
        node("b", "x", group="copy_1"),
        node("y", "a", group="copy_0"),
    ),
    "copy_0: a value inside the kernel is read outside; found ['a']": graph(
        node("a", "x", group="copy_0"),
        node("b", "a", group="copy_0"),
        node("y", "a", "b", op="add", group="add_1"),
    ),
}  # fmt: skip


def test_good_graphs_pass() -> None:
    verify_graph(GOOD, find_op, plain=True)
    verify_graph(CONSTANT, find_op)


@pytest.mark.parametrize("text", list(BROKEN))
def test_broken(text: str) -> None:
    with pytest.raises(ModelError) as caught:
        verify_graph(BROKEN[text], find_op)
    assert str(caught.value) == text


def test_unknown_operator_names_the_node() -> None:
    with pytest.raises(ModelError, match=r"^y \(nop\): unknown operator"):
        verify_graph(graph(node("y", "x"), outputs=("y",)).with_nodes(
            (replace(node("y", "x"), op="nop"),)
        ), find_op)  # fmt: skip


def test_after_a_pass_it_is_our_defect() -> None:
    with pytest.raises(InternalError, match=r"^after fuse-ops: %z: nothing makes this value$"):
        verify_graph(with_value(value("z")), find_op, after="fuse-ops")


def test_plain_graphs_carry_no_quantization() -> None:
    quantized = with_value(value("a", q=Quantization((0.5,), (0,))))
    verify_graph(quantized, find_op)
    with pytest.raises(InternalError, match="%a: a legalized value still carries quantization"):
        verify_graph(quantized, find_op, after="legalize", plain=True)
