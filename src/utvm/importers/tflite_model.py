"""Reads the tensors and operators of a TFLite file into dataclasses and checks them on the way.

In: the bytes of a file, untrusted. Out: a ``Model`` whose indices are in range, whose constants
have exactly their tensor's bytes (views of the file, not copies), whose quantization is usable
and whose operators are in execution order. What is well formed but not supported (element types,
dynamic shapes, sparse tensors) is not an error here: the tensor carries it as ``problem``, so
that every operator of the model can still be listed with its reason. Slot numbers and
enumerations are those of the TFLite schema.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from math import prod

import numpy as np
from tflite.BuiltinOperator import BuiltinOperator
from tflite.TensorType import TensorType as TfliteType

from utvm.importers.flatbuffer import Reader, Table
from utvm.ir.dtype import DType
from utvm.ir.graph import Quantization
from utvm.support.errors import ModelError, UnsupportedError
from utvm.support.text import printable

MAX_SUBGRAPHS = 1024
MAX_TENSORS = 65536
MAX_OPERATORS = 4096
MAX_OPERANDS = 4096
MAX_RANK = 8
MAX_ELEMENTS = 2**31 - 1
# All tensors of a model together; far beyond any microcontroller.
MAX_TOTAL_BYTES = 256 * 2**20
SCHEMA_VERSION = 3

_TYPE_NAMES = {n: name for name, n in vars(TfliteType).items() if isinstance(n, int)}
_OPERATOR_NAMES = {n: name for name, n in vars(BuiltinOperator).items() if isinstance(n, int)}
_DTYPES = {dtype.value.upper(): dtype for dtype in DType}
# Only these carry quantization that computes; on other types it is metadata.
_QUANTIZED = frozenset({DType.INT8, DType.UINT8, DType.INT16, DType.INT32, DType.INT64})


@dataclass(frozen=True, eq=False)
class Tensor:
    """One tensor. ``dtype`` is None where utvm has no such type; then ``problem`` says so.

    ``is_dynamic``: the file says that its shape was guessed when it was written.
    """

    index: int
    name: str
    shape: tuple[int, ...]
    type_name: str
    dtype: DType | None
    quantization: Quantization | None
    data: np.ndarray | None
    is_variable: bool
    is_dynamic: bool
    problem: str

    def __str__(self) -> str:
        return f"{self.type_name}[{','.join(map(str, self.shape))}]"


@dataclass(frozen=True)
class Operator:
    """One operator; an input left out is -1."""

    index: int
    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options_type: int
    options: Table | None

    @property
    def where(self) -> str:
        return f"operator {self.index} {self.name}"


@dataclass(frozen=True)
class Subgraph:
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]


def read_model(data: bytes) -> tuple[Subgraph, ...]:
    """The subgraphs of a TFLite file; the first is the network, its operators in checked order."""
    root = Reader(data).root(b"TFL3", "TFLite")
    version = root.integer(0, "uint32")
    if version != SCHEMA_VERSION:
        raise UnsupportedError(
            "unknown version of the TFLite schema",
            expected=str(SCHEMA_VERSION),
            found=str(version),
        )
    codes = [_operator_name(code) for code in root.tables(1, MAX_OPERATORS, "operator code")]
    buffers = [_buffer(buffer) for buffer in root.tables(4, MAX_TENSORS, "buffer")]
    subgraphs = root.tables(2, MAX_SUBGRAPHS, "subgraph")
    if not subgraphs:
        raise ModelError("the model has no subgraph", expected="at least 1", found="0")
    sizes = _Sizes()
    result = tuple(_subgraph(table, codes, buffers, sizes) for table in subgraphs)
    _check_order(result[0])
    return result


def _operator_name(code: Table) -> str:
    """The schema's name, or CUSTOM:name."""
    number = max(code.integer(0, "int8"), code.integer(3, "int32"))
    name = _OPERATOR_NAMES.get(number, f"UNKNOWN_{number}")
    return f"CUSTOM:{printable(code.text(1), 40)}" if name == "CUSTOM" else name


def _buffer(buffer: Table) -> memoryview:
    if buffer.integer(1, "uint64") > 1:
        raise UnsupportedError(
            "constants behind the flatbuffer are not supported",
            where=buffer.where,
            hint="only models above 2 GB need them",
        )
    return buffer.content(0)


class _Sizes:
    """The bytes of all tensors so far."""

    def __init__(self) -> None:
        self.total_bytes = 0

    def add(self, size_bytes: int, where: str) -> None:
        self.total_bytes += size_bytes
        if self.total_bytes > MAX_TOTAL_BYTES:
            raise UnsupportedError(
                "the tensors of this model are too large for a microcontroller",
                where=where,
                expected=f"at most {MAX_TOTAL_BYTES} bytes altogether",
                found=f"{self.total_bytes} bytes up to this one",
            )


def _subgraph(table: Table, codes: list[str], buffers: list[memoryview], sizes: _Sizes) -> Subgraph:
    tensors = tuple(
        _tensor(index, tensor, buffers, sizes)
        for index, tensor in enumerate(table.tables(0, MAX_TENSORS, "tensor"))
    )
    operators = tuple(
        _operator(index, operator, codes, len(tensors))
        for index, operator in enumerate(table.tables(3, MAX_OPERATORS, "operator"))
    )
    inputs = table.integers(1, "int32", MAX_OPERANDS, "inputs")
    outputs = table.integers(2, "int32", MAX_OPERANDS, "outputs")
    _check_indices(inputs, 0, len(tensors), f"{table.where}, inputs")
    _check_indices(outputs, 0, len(tensors), f"{table.where}, outputs")
    return Subgraph(inputs, outputs, tensors, operators)


def _operator(index: int, table: Table, codes: list[str], tensors: int) -> Operator:
    code = table.integer(0, "uint32")
    if code >= len(codes):
        raise ModelError(
            "the operator code does not exist",
            where=table.where,
            expected=f"below {len(codes)}",
            found=str(code),
        )
    where = f"operator {index} {codes[code]}"
    inputs = table.integers(1, "int32", MAX_OPERANDS, "inputs")
    outputs = table.integers(2, "int32", MAX_OPERANDS, "outputs")
    _check_indices(inputs, -1, tensors, f"{where}, inputs")
    _check_indices(outputs, 0, tensors, f"{where}, outputs")
    options = table.table(4, where)
    return Operator(index, codes[code], inputs, outputs, table.integer(3, "uint8"), options)


def _check_indices(indices: tuple[int, ...], low: int, high: int, where: str) -> None:
    for index in indices:
        if not low <= index < high:
            raise ModelError(
                "the tensor does not exist",
                where=where,
                expected=f"an index below {high}",
                found=str(index),
            )


def _tensor(index: int, table: Table, buffers: list[memoryview], sizes: _Sizes) -> Tensor:
    name = table.text(3)
    where = f"tensor {index} ({printable(name, 40)})"
    type_number = table.integer(1, "int8")
    type_name = _TYPE_NAMES.get(type_number, f"TYPE_{type_number}")
    dtype = _DTYPES.get(type_name)
    shape = table.integers(0, "int32", MAX_RANK, "dimensions")
    problem = _problem(table, type_name, dtype, shape, where)
    raw = _content(table, buffers, where)
    data: np.ndarray | None = None
    if dtype is not None and not problem:
        elements = prod(shape)
        sizes.add(elements * dtype.size_bytes, where)
        if len(raw):
            data = _constant(raw, shape, dtype, where)
    quantization = table.table(4, where)
    if quantization is not None and quantization.integer(4, "uint8"):
        problem = problem or "has a quantization of its own kind"
    return Tensor(
        index=index,
        name=name,
        shape=shape,
        type_name=type_name.lower(),
        dtype=dtype,
        quantization=_quantization(quantization, shape, dtype, where) if quantization else None,
        data=data,
        is_variable=bool(table.integer(5, "bool")),
        is_dynamic=-1 in table.integers(7, "int32", MAX_RANK, "dimensions"),
        problem=problem,
    )


def _problem(
    table: Table, type_name: str, dtype: DType | None, shape: tuple[int, ...], where: str
) -> str:
    """Why utvm cannot hold this tensor, or nothing; ModelError for shapes that mean nothing."""
    if any(n < -1 for n in shape):
        raise ModelError("a dimension is negative", where=where, found=str(list(shape)))
    if -1 in shape:
        return f"has the dynamic shape {list(shape)}".replace("-1", "?")
    if prod(shape) > MAX_ELEMENTS:
        raise ModelError(
            "the tensor is too large",
            where=where,
            expected=f"at most {MAX_ELEMENTS} elements",
            found=f"shape {list(shape)}",
        )
    if dtype is None:
        return f"has the element type {type_name.lower()}"
    if table.has(6):
        return "is sparse"
    if 0 in shape:
        return "has no elements"
    return ""


def _content(table: Table, buffers: list[memoryview], where: str) -> memoryview:
    number = table.integer(2, "uint32")
    if number >= len(buffers) and number:
        raise ModelError(
            "the buffer does not exist",
            where=where,
            expected=f"an index below {len(buffers)}",
            found=str(number),
        )
    return buffers[number] if number else memoryview(b"")


def _constant(raw: memoryview, shape: tuple[int, ...], dtype: DType, where: str) -> np.ndarray:
    """The elements as a view of the file."""
    expected = prod(shape) * dtype.size_bytes
    if len(raw) != expected:
        raise ModelError(
            "the constant's buffer does not fit its shape",
            where=where,
            expected=f"{expected} bytes for {dtype.value}{list(shape)}",
            found=f"{len(raw)} bytes",
        )
    if dtype is DType.BOOL:
        return np.not_equal(np.frombuffer(raw, np.uint8), 0).reshape(shape)
    little_endian = np.frombuffer(raw, dtype.numpy.newbyteorder("<"))
    data: np.ndarray = little_endian.astype(dtype.numpy, copy=False).reshape(shape)
    return data


def _quantization(
    table: Table, shape: tuple[int, ...], dtype: DType | None, where: str
) -> Quantization | None:
    """The tensor's quantization, or None where the file gives no scale."""
    scales = table.numbers(2, "float32", MAX_ELEMENTS, "scales")
    zero_points = table.integers(3, "int64", MAX_ELEMENTS, "zero points")
    if not scales or dtype not in _QUANTIZED:
        return None
    if not all(math.isfinite(scale) and scale > 0 for scale in scales):
        bad = next(scale for scale in scales if not (math.isfinite(scale) and scale > 0))
        raise ModelError(
            "a quantization scale is not usable",
            where=where,
            expected="a positive finite number",
            found=str(bad),
        )
    zero_points = zero_points or (0,) * len(scales)
    if len(zero_points) != len(scales):
        raise ModelError(
            "scales and zero points differ in number",
            where=where,
            expected=f"{len(scales)} zero points",
            found=str(len(zero_points)),
        )
    _check_zero_points(zero_points, dtype, where)
    axis = _axis(table.integer(6, "int32"), len(scales), shape, where)
    return Quantization(tuple(float(s) for s in scales), zero_points, axis)


def _check_zero_points(zero_points: tuple[int, ...], dtype: DType, where: str) -> None:
    for zero_point in zero_points:
        if not dtype.minimum <= zero_point <= dtype.maximum:
            raise ModelError(
                "a zero point is outside its type",
                where=where,
                expected=f"{dtype.minimum} to {dtype.maximum} for {dtype.value}",
                found=str(zero_point),
            )


def _axis(axis: int, scales: int, shape: tuple[int, ...], where: str) -> int | None:
    """The quantized axis, None for per-tensor quantization.

    Old converters copied the weights' axis to the bias, so on tensors of rank 1 any axis means 0.
    """
    if scales == 1:
        return None
    if len(shape) == 1:
        axis = 0
    if not 0 <= axis < len(shape):
        raise ModelError(
            "the quantized dimension does not exist",
            where=where,
            expected=f"0 to {len(shape) - 1}",
            found=str(axis),
        )
    if shape[axis] != scales:
        raise ModelError(
            "the number of scales does not fit the quantized dimension",
            where=where,
            expected=f"1 or {shape[axis]}",
            found=str(scales),
        )
    return axis


def _check_order(graph: Subgraph) -> None:
    """Every tensor has one origin, and no operator reads one before it exists."""
    if len(set(graph.inputs)) != len(graph.inputs):
        raise ModelError("the same tensor is an input twice", where="subgraph 0, inputs")
    for index in graph.inputs:
        if graph.tensors[index].data is not None:
            raise ModelError(f"input tensor {index} is a constant", where="subgraph 0, inputs")
    ready = set(graph.inputs)
    ready |= {t.index for t in graph.tensors if t.data is not None or t.is_variable or 0 in t.shape}
    for operator in graph.operators:
        for position, index in enumerate(operator.inputs):
            if index >= 0 and index not in ready:
                raise ModelError(
                    f"tensor {index} is read before anything has made it",
                    where=f"{operator.where}, input {position}",
                    hint="operators must be in execution order",
                )
        for position, index in enumerate(operator.outputs):
            if index in ready and not graph.tensors[index].problem:
                raise ModelError(
                    f"tensor {index} is made twice",
                    where=f"{operator.where}, output {position}",
                    expected="a tensor that is no input, no constant and no other result",
                )
            ready.add(index)
    for position, index in enumerate(graph.outputs):
        if index not in ready:
            raise ModelError(
                f"nothing makes tensor {index}", where=f"subgraph 0, output {position}"
            )
