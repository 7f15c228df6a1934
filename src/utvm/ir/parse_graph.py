"""The text form of the graph IR, read back: networks written by hand or by ``print_graph``.

In: the text, which may come from a stranger, the table of operators and the data of large constants
by name. Out: a verified ``Graph``, or a ModelError with line and column. Types of plain results may
be left out: the operator's rule gives them. The grammar, where ``x, ..`` is a list with commas:

    graph   = "graph" NAME "(" %name ":" type, .. ")" "->" "(" %name, .. ")" "{" {const | node} "}"
    const   = "const" %name ":" type ["=" "[" number, .. "]"]
    node    = result, .. "=" OPERATOR "(" %name, .. ")" ["{" NAME "=" literal, .. "}"]
              ["as" NAME] ["@" KERNEL] ["from" STRING]
    result  = %name [":" type]
    type    = ELEMENT_TYPE "[" INTEGER, .. "]" ["q" "(" NAME "=" literal, .. ")"]
    literal = number | STRING | "true" | "false" | "none" | "[" literal, .. "]"
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from utvm.ir.attributes import Literal, build_attrs
from utvm.ir.graph import Attrs, Graph, Node, Quantization, TensorType, Value
from utvm.ir.parse_literals import TypeParser, as_float
from utvm.ir.scan import Scanner, Token
from utvm.ir.verify_graph import (
    NAME,
    FindOperator,
    Operator,
    check_value,
    infer_types,
    verify_graph,
)
from utvm.support.errors import ModelError, UtvmError
from utvm.support.text import printable

MAX_NODES = 4096
T = TypeVar("T")
_NOTHING: Mapping[str, np.ndarray] = {}


def parse_graph(
    text: str,
    find_op: FindOperator,
    params: Mapping[str, np.ndarray] = _NOTHING,
    *,
    file: str = "text",
) -> Graph:
    """The graph that ``text`` describes; ``params`` holds what its constants without data are."""
    return _Parser(Scanner(text, file), find_op, params).graph()


@dataclass
class _Parser(TypeParser):
    """The values and nodes read so far."""

    find_op: FindOperator
    params: Mapping[str, np.ndarray]
    values: dict[str, Value] = field(default_factory=dict)
    constants: dict[str, np.ndarray] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)

    def graph(self) -> Graph:
        scan = self.scan
        scan.expect("graph", 'a model file begins "graph NAME(%input: type) -> (%output) {"')
        name = scan.expect_kind("word", "the graph's name").text
        inputs = tuple(self.items("(", ")", self._input))
        scan.expect("->")
        scan.expect("(")
        outputs = [scan.expect_kind("value", "an output, as %name")]
        while scan.accept(","):
            outputs.append(scan.expect_kind("value", "an output, as %name"))
        scan.expect(")")
        scan.expect("{")
        while not scan.accept("}"):
            self._line()
        if scan.peek().kind != "end":
            scan.fail("something follows the graph", expected="the end of the text")
        results = tuple(self._known(token) for token in outputs)
        graph = Graph(name, inputs, results, tuple(self.nodes), self.values, self.constants)
        try:
            verify_graph(graph, self.find_op)
        except UtvmError as error:
            error.where = f"{scan.file}: {error.where}"
            raise
        return graph

    def _line(self) -> None:
        if self.scan.accept("const"):
            self._constant()
        elif self.scan.peek().kind == "value":
            self._node()
        else:
            self.scan.fail(
                "a line of a graph begins otherwise", expected='"const", a result as %name, or "}"'
            )

    def _input(self) -> str:
        token = self.scan.expect_kind("value", "an input, as %name: type")
        self.scan.expect(":", "every input needs its type, as %x: int8[1,8]")
        return self._declare(token, *self._type())

    def _declare(
        self, token: Token, type: TensorType, quantization: Quantization | None = None
    ) -> str:
        """Adds a value under a new name."""
        name = _name(token)
        if name in self.values:
            self.scan.fail("the name is taken already", token, expected="a new name")
        if not NAME.fullmatch(name):
            self.scan.fail(
                "the name is not an identifier", token, expected="a letter, then at most 63 more"
            )
        value = Value(name, type, quantization)
        try:
            check_value(value)
        except ModelError as error:
            self.scan.fail(error.what, token, expected=error.expected, found=error.found)
        self.values[name] = value
        return name

    def _known(self, token: Token) -> str:
        name = _name(token)
        if name not in self.values:
            self.scan.fail(
                "nothing above makes this value",
                token,
                hint="a value must be an input, a constant or the result of an earlier line",
            )
        return name

    def _operand(self) -> str:
        return self._known(self.scan.expect_kind("value", "an operand, as %name"))

    def _type(self) -> tuple[TensorType, Quantization | None]:
        scan = self.scan
        type = self.tensor_type()
        quantization = None
        if scan.at("q"):
            word = scan.take()
            quantization = self._quantization(word, self.fields("(", ")"))
        return type, quantization

    def _quantization(self, token: Token, fields: dict[str, Literal]) -> Quantization:
        axis = fields.get("axis")
        wanted = {"scale", "zero_point"} if axis is None else {"scales", "zero_points", "axis"}
        scales = fields.get("scales" if axis is not None else "scale")
        zeros = fields.get("zero_points" if axis is not None else "zero_point")
        scales = scales if axis is not None else (scales,)
        zeros = zeros if axis is not None else (zeros,)
        well_formed = (
            set(fields) == wanted
            and (axis is None or type(axis) is int)
            and isinstance(scales, tuple)
            and isinstance(zeros, tuple)
            and all(type(s) in (int, float) for s in scales)
            and all(type(z) is int for z in zeros)
        )
        if not well_formed:
            self.scan.fail(
                "the quantization is not complete",
                token,
                expected="q(scale=S, zero_point=Z) or q(scales=[..], zero_points=[..], axis=A)",
                found=", ".join(fields) or "nothing",
            )
        assert isinstance(scales, tuple) and isinstance(zeros, tuple)
        numbers = tuple(as_float(scale) for scale in scales)
        return Quantization(numbers, zeros, axis if isinstance(axis, int) else None)

    def _constant(self) -> None:
        token = self.scan.expect_kind("value", "a constant, as %name: type")
        self.scan.expect(":", "a constant needs its type, as const %w: int8[8,3,3,4]")
        name = self._declare(token, *self._type())
        data = self.constant_data(token, name, self.values[name].type, self.params)
        self.constants[name] = data

    def _node(self) -> None:
        scan = self.scan
        if len(self.nodes) == MAX_NODES:
            scan.fail("the graph has too many lines", expected=f"at most {MAX_NODES}")
        results = [self._result()]
        while scan.accept(","):
            results.append(self._result())
        scan.expect("=")
        name = scan.expect_kind("word", "an operator's name")
        operands = tuple(self.items("(", ")", self._operand))
        fields_token = scan.peek()
        fields = self.fields("{", "}") if scan.at("{") else {}
        op = self._at(name, lambda: self.find_op(name.text))
        attrs = self._at(fields_token if fields else name, lambda: build_attrs(op.attrs, fields))
        types = self._result_types(name, op, operands, attrs, results)
        for result, (type, quantization) in zip(results, types, strict=True):
            self._declare(result.token, type, quantization)
        outputs = tuple(_name(result.token) for result in results)
        title = outputs[0]
        if scan.accept("as"):
            title = scan.expect_kind("word", "the node's name").text[:64]
        group = scan.take().text[1:65] if scan.peek().kind == "label" else ""
        source = printable(self.string()) if scan.accept("from") else ""
        self.nodes.append(Node(title, name.text, operands, outputs, attrs, source, group))

    def _at(self, token: Token, what: Callable[[], T]) -> T:
        """``what()``; its errors get the place of ``token``."""
        try:
            return what()
        except UtvmError as error:
            error.where = self.scan.where(token)
            raise

    def _result(self) -> _Result:
        token = self.scan.expect_kind("value", "a result, as %name")
        return _Result(token, *(self._type() if self.scan.accept(":") else (None, None)))

    def _result_types(
        self,
        name: Token,
        op: Operator,
        operands: tuple[str, ...],
        attrs: Attrs,
        results: list[_Result],
    ) -> list[tuple[TensorType, Quantization | None]]:
        """Declared types where the text gives them, else those of the operator's rule."""
        inputs = [self.values[operand] for operand in operands]
        operand_types = [value.type for value in inputs]
        inferred = self._at(name, lambda: infer_types(op, operand_types, attrs))
        if len(inferred) != len(results):
            self.scan.fail(
                "wrong number of results",
                name,
                expected=str(len(inferred)),
                found=str(len(results)),
            )
        quantized = any(v.quantization for v in inputs) or any(r.quantization for r in results)
        types = []
        for result, type in zip(results, inferred, strict=True):
            types.append((self._result_type(result, type, quantized), result.quantization))
        return types

    def _result_type(self, result: _Result, inferred: TensorType, quantized: bool) -> TensorType:
        if result.type is None:
            if quantized:
                self.scan.fail(
                    "the result of a quantized operator needs its type",
                    result.token,
                    expected="%name: type q(scale=S, zero_point=Z)",
                )
            return inferred
        fits = result.type.shape == inferred.shape if quantized else result.type == inferred
        if not fits:
            self.scan.fail(
                "the declared type is not what the operator gives",
                result.token,
                expected=str(inferred),
                found=str(result.type),
                hint="the type may be left out" if not quantized else "",
            )
        return result.type


@dataclass(frozen=True)
class _Result:
    """A result as the text names it; the type may be missing."""

    token: Token
    type: TensorType | None
    quantization: Quantization | None


def _name(token: Token) -> str:
    """The value's name; numbers, which are handy for results nobody names, become t_<number>."""
    name = token.text[1:]
    return f"t_{name}" if name[0].isdigit() else name
