"""One operator of a TFLite file as the rows of the operator table see it.

In: the operator, the tensors, and the builder that collects the graph. A row reads operands and
options through ``OpContext``, which checks them, and emits nodes through it, which compares the
type rule's result with the shape that the model declares. Errors carry the operator and the
operand they are about.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from utvm.importers.tflite_model import Operator, Tensor
from utvm.importers.tflite_options import read_options
from utvm.ir.dtype import DType
from utvm.ir.graph import Attrs, TensorType, Value
from utvm.op.base import Op
from utvm.op.builder import GraphBuilder
from utvm.support.errors import ModelError, UnsupportedError, UtvmError
from utvm.support.text import identifier, printable

# Names in generated code stay short: fused operators have names of hundreds of characters.
NAME_LIMIT = 33
# Paddings, axes, sizes: nobody needs more numbers than this in one operand.
MAX_INTEGERS = 256
# One line of an error stays readable whatever numbers the file holds.
FOUND_LIMIT = 100

# How converters call what reads a weight, after the name of the layer.
_PATH_NOISE = ("", "ReadVariableOp", "resource")

_ACTIVATIONS = {0: "none", 1: "relu", 2: "relu_n1_to_1", 3: "relu6"}


@dataclass(frozen=True)
class Values:
    """The graph under construction: ``names`` maps the tensors that have a value to its name."""

    builder: GraphBuilder
    find_op: Callable[[str], Op]
    names: dict[int, str] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)

    def declare(self, tensor: Tensor, data: np.ndarray | None = None) -> str:
        """The value of a tensor, under a name that C can hold."""
        assert tensor.dtype is not None, tensor.index
        base = short_name(tensor.name)
        if base in self.taken:
            base = f"{base}_{tensor.index}"
        self.taken.add(base)
        type = TensorType(tensor.shape, tensor.dtype)
        name = self.builder.fresh(base)
        self.builder.add_value(Value(name, type, tensor.quantization), data)
        self.names[tensor.index] = name
        return name

    def declare_if_possible(self, tensor: Tensor, data: np.ndarray | None = None) -> None:
        """Declares a tensor unless that has happened or utvm cannot hold it."""
        if tensor.index not in self.names and not tensor.problem:
            self.declare(tensor, data)

    def require(self, indices: Sequence[int], tensors: Sequence[Tensor]) -> None:
        """Inputs and outputs of the model must be tensors that utvm can hold."""
        for index in indices:
            if index not in self.names:
                tensor = tensors[index]
                raise UnsupportedError(
                    f"an input or output of the model {tensor.problem or 'is a variable'}",
                    where=f"tensor {index} ({printable(tensor.name, 40)})",
                )


class OpContext:
    """What a row of the operator table works with."""

    def __init__(self, operator: Operator, tensors: Sequence[Tensor], graph: Values) -> None:
        self.operator = operator
        self._tensors = tensors
        self._graph = graph
        self._options: Mapping[str, int | float] = read_options(operator)

    # Operands

    def has(self, position: int) -> bool:
        """Whether the input is there; trailing ones may be left out."""
        inputs = self.operator.inputs
        return position < len(inputs) and inputs[position] >= 0

    def input(self, position: int) -> Tensor:
        if not self.has(position):
            raise ModelError("an operand is missing", where=self._where_input(position))
        return self._tensors[self.operator.inputs[position]]

    def output(self, position: int = 0) -> Tensor:
        if position >= len(self.operator.outputs):
            raise ModelError("a result is missing", where=self._where_output(position))
        return self._tensors[self.operator.outputs[position]]

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Every operand and result that is there, with where it stands."""
        for position, index in enumerate(self.operator.inputs):
            if index >= 0:
                yield self._where_input(position), self._tensors[index]
        for position, index in enumerate(self.operator.outputs):
            yield self._where_output(position), self._tensors[index]

    def name(self, position: int) -> str:
        """The graph's name of an input."""
        return self._graph.names[self.input(position).index]

    def names(self, *positions: int) -> list[str]:
        """The graph's names of the inputs that are there."""
        return [self.name(position) for position in positions if self.has(position)]

    def shape(self, position: int, rank: int | None = None) -> tuple[int, ...]:
        shape = self.input(position).shape
        if rank is not None and len(shape) != rank:
            raise ModelError(
                "the operand has the wrong rank",
                where=self._where_input(position),
                expected=f"{rank} dimensions",
                found=str(list(shape)),
            )
        return shape

    def constant(self, position: int) -> np.ndarray | None:
        """An input's data where they are known now."""
        return self._graph.builder.constant_of(self.name(position))

    def integers(self, position: int, what: str) -> tuple[int, ...]:
        """A constant operand of integers, flattened."""
        tensor, where = self.input(position), self._where_input(position)
        if tensor.dtype not in (DType.INT32, DType.INT64, DType.INT16, DType.INT8):
            raise ModelError(
                f"{what} have a wrong type", where=where, expected="int32", found=tensor.type_name
            )
        data = self.constant(position)
        if data is None:
            raise UnsupportedError(
                f"{what} are computed at run time", where=where, expected="a constant"
            )
        if data.size > MAX_INTEGERS:
            raise ModelError(f"too many {what}", where=where, found=str(data.size))
        return tuple(int(n) for n in data.reshape(-1))

    # Options

    def integer(self, name: str, least: int | None = None) -> int:
        value = int(self._options[name])
        if least is not None and value < least:
            raise self.broken(f"{name} is too small", expected=f"at least {least}", found=value)
        return value

    def pair(self, first: str, second: str) -> tuple[int, int]:
        """Two options that must be positive, rows first."""
        return self.integer(first, 1), self.integer(second, 1)

    def real(self, name: str) -> float:
        value = float(self._options[name])
        if not np.isfinite(value):
            raise self.broken(f"{name} is not finite", expected="a number", found=value)
        return value

    def flag(self, name: str) -> bool:
        return bool(self._options[name])

    def activation(self) -> str:
        number = self.integer("fused_activation_function")
        if number not in _ACTIVATIONS:
            raise self.unsupported(
                "the fused activation is not supported",
                expected=", ".join(_ACTIVATIONS.values()),
                found=number,
            )
        return _ACTIVATIONS[number]

    # Results

    def emit(
        self,
        op: str,
        inputs: Sequence[str],
        attrs: Attrs | None = None,
        output: int = 0,
    ) -> None:
        """Appends the node that makes one of the operator's results."""
        tensor = self.output(output)
        attrs = self._graph.find_op(op).attrs() if attrs is None else attrs
        inferred = self._infer(op, inputs, attrs)
        declared = self._graph.declare(tensor)
        value = self._graph.builder.value(declared)
        quantized = value.quantization is not None or any(
            self._graph.builder.quantization(name) is not None for name in inputs
        )
        matches = inferred.shape == value.shape if quantized else inferred == value.type
        if not matches:
            raise ModelError(
                "the declared result does not fit the operator",
                where=self._where_output(output),
                expected=str(list(inferred.shape)) if quantized else str(inferred),
                found=str(list(value.shape)) if quantized else str(value.type),
            )
        self._graph.builder.add_node(op, inputs, (declared,), attrs)

    def intermediate(self, op: str, inputs: Sequence[str], attrs: Attrs, like: Tensor) -> str:
        """Appends a node whose result the model does not have; quantized as ``like``."""
        builder = self._graph.builder
        assert like.dtype is not None
        shape = self._infer(op, inputs, attrs).shape
        name = builder.fresh(f"{identifier(op)}_{self.operator.index}")
        builder.add_value(Value(name, TensorType(shape, like.dtype), like.quantization))
        builder.add_node(op, inputs, (name,), attrs)
        return name

    def constant_result(self, data: np.ndarray) -> None:
        """Declares the operator's result as a constant."""
        tensor = self.output()
        if tensor.shape != data.shape or tensor.dtype is None:
            raise ModelError(
                "the declared result does not fit the operator",
                where=self._where_output(0),
                expected=str(list(data.shape)),
                found=str(tensor),
            )
        self._graph.declare(tensor, data.astype(tensor.dtype.numpy))

    def _infer(self, op: str, inputs: Sequence[str], attrs: Attrs) -> TensorType:
        types = [self._graph.builder.type_of(name) for name in inputs]
        with located(self.operator.where):
            (result,) = self._graph.find_op(op).infer(types, attrs)
        return result

    # Errors

    def broken(self, what: str, *, expected: object = "", found: object = "") -> ModelError:
        return ModelError(
            what, where=self.operator.where, expected=_cut(expected), found=_cut(found)
        )

    def unsupported(
        self, what: str, *, expected: object = "", found: object = "", hint: str = ""
    ) -> UnsupportedError:
        return UnsupportedError(
            what,
            where=self.operator.where,
            expected=str(expected),
            found=_cut(found),
            hint=hint,
        )

    def _where_input(self, position: int) -> str:
        return f"{self.operator.where}, input {position}" + self._named(
            self.operator.inputs, position
        )

    def _where_output(self, position: int) -> str:
        return f"{self.operator.where}, output {position}" + self._named(
            self.operator.outputs, position
        )

    def _named(self, indices: tuple[int, ...], position: int) -> str:
        if position >= len(indices) or indices[position] < 0:
            return ""
        return f" ({printable(self._tensors[indices[position]].name, 40)})"


def _cut(part: object) -> str:
    text = str(part)
    return text if len(text) <= FOUND_LIMIT else f"{text[:FOUND_LIMIT]}..."


def short_name(name: str) -> str:
    """The end of a path like "model/conv/BiasAdd;model/conv/Conv2D" as an identifier.

    Converters join the names of operators that they fused by ";"; the first names the result.
    """
    path = [part for part in name.split(";")[0].split("/") if part not in _PATH_NOISE]
    result = path.pop() if path else name
    while path and len(path[-1]) + 1 + len(result) <= NAME_LIMIT:
        result = f"{path.pop()}/{result}"
    return identifier(result, NAME_LIMIT)


@contextmanager
def located(where: str) -> Iterator[None]:
    """Adds the place to errors of type rules, which know only types."""
    try:
        yield
    except UtvmError as error:
        raise type(error)(
            error.what,
            where=error.where or where,
            expected=error.expected,
            found=error.found,
            hint=error.hint,
        ) from None
