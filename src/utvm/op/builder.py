"""Building graphs in Python: for networks written by hand, importers and ``legalize``.

A ``GraphBuilder`` collects inputs, constants and nodes in order; ``emit`` applies an operator,
checks it by the operator's type rule and returns the result's name. ``build`` gives the immutable
``Graph``.

    b = GraphBuilder("net")
    x = b.input("x", TensorType((1, 8), DType.INT8))
    b.output(b.emit("clip", [x], ClipAttrs(low=0, high=6)))
    graph = b.build()
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from utvm.ir.dtype import dtype_of
from utvm.ir.graph import Attrs, Graph, Node, Quantization, TensorType, Value
from utvm.ir.verify_graph import check_value
from utvm.op.base import Op
from utvm.support.text import identifier


class GraphBuilder:
    """Collects a graph. ``find_op`` looks an operator up by name (``utvm.op.registry.find_op``)."""

    def __init__(self, name: str, find_op: Callable[[str], Op]) -> None:
        self._name = identifier(name)
        self._find_op = find_op
        self._inputs: list[str] = []
        self._outputs: list[str] = []
        self._nodes: list[Node] = []
        self._values: dict[str, Value] = {}
        self._constants: dict[str, np.ndarray] = {}
        self._numbers: Counter[str] = Counter()
        self.source = ""
        self.detail = ""

    def fresh(self, hint: str) -> str:
        """An unused value name made from ``hint``."""
        base = identifier(hint)
        name = base
        while name in self._values:
            self._numbers[base] += 1
            name = f"{base}_{self._numbers[base]}"
        return name

    def value(self, name: str) -> Value:
        return self._values[name]

    def type_of(self, name: str) -> TensorType:
        return self._values[name].type

    def quantization(self, name: str) -> Quantization | None:
        return self._values[name].quantization

    def constant_of(self, name: str) -> np.ndarray | None:
        """The data of a constant, or None for a value known only at run time."""
        return self._constants.get(name)

    def annotate(self, name: str, quantization: Quantization | None) -> None:
        """Says how the integers of a value are to be read, for the nodes that follow."""
        self._values[name] = replace(self._values[name], quantization=quantization)

    def add_value(self, value: Value, data: np.ndarray | None = None) -> str:
        """Declares a value, with its data if it is a constant."""
        assert value.name not in self._values, value.name
        self._values[value.name] = value
        if data is not None:
            assert data.shape == value.shape and data.dtype == value.dtype.numpy, value
            frozen = np.ascontiguousarray(data)
            frozen.setflags(write=False)
            self._constants[value.name] = frozen.reshape(value.shape)
        return value.name

    def input(self, name: str, type: TensorType, quantization: Quantization | None = None) -> str:
        name = self.add_value(Value(self.fresh(name), type, quantization))
        self._inputs.append(name)
        return name

    def constant(self, data: np.ndarray, name: str = "const") -> str:
        data = np.array(data)
        type = TensorType(tuple(data.shape), dtype_of(data))
        return self.add_value(Value(self.fresh(name), type), data)

    def emit(
        self,
        op: str,
        inputs: Sequence[str],
        attrs: Attrs | None = None,
        name: str = "",
    ) -> str:
        """Applies an operator with one result to plain values and returns the result's name."""
        (result,) = self.emit_many(op, inputs, attrs, name)
        return result

    def emit_many(
        self,
        op: str,
        inputs: Sequence[str],
        attrs: Attrs | None = None,
        name: str = "",
    ) -> tuple[str, ...]:
        attrs = self._find_op(op).attrs() if attrs is None else attrs
        types = self._find_op(op).infer([self.type_of(i) for i in inputs], attrs)
        for type in types:
            check_value(Value("result", type))
        results = tuple(self.add_value(Value(self.fresh(name or op), t)) for t in types)
        self.add_node(op, inputs, results, attrs)
        return results

    def add_node(
        self, op: str, inputs: Sequence[str], outputs: Sequence[str], attrs: Attrs, name: str = ""
    ) -> None:
        """Appends a node whose result values are declared already."""
        names = (tuple(inputs), tuple(outputs))
        node = Node(name or outputs[0], op, *names, attrs, self.source, detail=self.detail)
        self._nodes.append(node)

    def output(self, name: str) -> None:
        self._outputs.append(name)

    def set_io(self, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        self._inputs, self._outputs = list(inputs), list(outputs)

    def build(self) -> Graph:
        return Graph(
            self._name,
            tuple(self._inputs),
            tuple(self._outputs),
            tuple(self._nodes),
            dict(self._values),
            dict(self._constants),
        ).with_nodes(tuple(self._nodes))


def plain(value: Value) -> Value:
    """The value without its quantization."""
    return Value(value.name, value.type)
