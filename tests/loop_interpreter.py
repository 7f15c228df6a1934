"""Executes loop IR directly, statement by statement: what a schedule must not change.

In: a function and one array per input and constant. Out: its outputs. Slow and strict: int32
arithmetic that overflows, an access outside of a buffer and a read of what was never written are
errors. Only the integer intrinsics that the tests need exist here.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from utvm.ir.dtype import DType
from utvm.ir.loop import (
    Alloc,
    Binary,
    Buffer,
    Call,
    Cast,
    Comment,
    Expr,
    For,
    Function,
    If,
    Imm,
    Invoke,
    Let,
    Load,
    Pointer,
    Select,
    Stmt,
    Store,
    Var,
    View,
)
from utvm.ir.packed import MEANINGS
from utvm.op.fixed_point import multiply_by_quantized_multiplier

Array = npt.NDArray[Any]
Scalar = int | float
Memory = tuple[list[Any], int]
"""The elements of a buffer, None where nothing was written, and where a pointer begins."""


def _divide(a: int, b: int) -> int:
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": _divide,
    "%": lambda a, b: a - b * _divide(a, b),
    "min": min,
    "max": max,
    "<<": operator.lshift,
    ">>": operator.rshift,
    "&": operator.and_,
    "|": operator.or_,
    "^": operator.xor,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}


def _requantize(x: int, multiplier: int, shift: int) -> int:
    words = (np.array([word], np.int32) for word in (x, multiplier, shift))
    return int(multiply_by_quantized_multiplier(*words)[0])


INTRINSICS: dict[str, Callable[..., int]] = {
    "requantize": _requantize,
    "requantize_right": lambda x, multiplier, shift: _requantize(x, multiplier, -shift),
    "mulhi": lambda a, b: a * b >> 32,
    "mulhi_long": lambda x, high, low: (x * high + (x * low >> 32)) >> 32,
    "mulhi_rounding": lambda a, b: min((a * b + (1 << 30)) >> 31, (1 << 31) - 1),
    "clz": lambda x: 32 - (x & 0xFFFFFFFF).bit_length(),
    **MEANINGS,
}


def run_function(
    function: Function,
    arrays: Mapping[str, Array],
    *,
    micros: Sequence[Function] = (),
    scalars: Mapping[str, int] | None = None,
) -> dict[str, Array]:
    """The outputs by name; ``arrays`` holds inputs and constants by name, ``scalars`` the integers
    of a micro function, ``micros`` those that the function invokes. An output that has an array,
    too, begins with its elements; others must be written in full."""
    memory: dict[str, Memory] = {}
    for buffer in (*function.inputs, *function.constants):
        data = arrays[buffer.name]
        assert (data.size, data.dtype) == (buffer.elements, buffer.dtype.numpy), buffer
        memory[buffer.name] = (data.reshape(-1).tolist(), 0)
    for buffer in (*function.outputs, *function.workspace):
        before = arrays[buffer.name].reshape(-1).tolist() if buffer.name in arrays else None
        memory[buffer.name] = (before or [None] * buffer.elements, 0)
    _Machine(memory, dict(scalars or {}), {m.name: m for m in micros}).body(function.body)
    results = {}
    for buffer in function.outputs:
        elements, _ = memory[buffer.name]
        assert None not in elements, f"{buffer.name} is not written in full"
        results[buffer.name] = np.array(elements, buffer.dtype.numpy).reshape(buffer.shape)
    return results


class _Machine:
    """Memory by buffer name, values of variables by name."""

    def __init__(
        self, memory: dict[str, Memory], values: dict[str, Any], micros: Mapping[str, Function]
    ) -> None:
        self.memory = memory
        self.values = values
        self.micros = micros
        self.flat = False  # whether buffers are pointers into larger ones

    def body(self, body: tuple[Stmt, ...]) -> None:
        for stmt in body:
            self.stmt(stmt)

    def stmt(self, stmt: Stmt) -> None:
        match stmt:
            case For(var, start, stop, body, step):
                for value in range(self.whole(start), self.whole(stop), step):
                    self.values[var.name] = value
                    self.body(body)
            case If(condition, then, orelse):
                self.body(then if self.expr(condition) else orelse)
            case Store(buffer, indices, value, lanes):
                result = self.expr(value)
                _check_range(result, stmt.value.dtype)
                elements, at = self.element(buffer, indices)
                elements[at : at + lanes] = _unpacked(result, lanes, buffer.dtype)
            case Invoke(name, pointers, scalars):
                self.invoke(self.micros[name], pointers, scalars)
            case Let(var, value):
                self.values[var.name] = self.expr(value)
            case Alloc(buffer):
                self.memory[buffer.name] = ([None] * buffer.elements, 0)
            case View(pointer, base, offset):
                elements, first = self.memory[base.name]
                self.memory[pointer.name] = (elements, first + self.whole(offset))
            case _:
                assert isinstance(stmt, Comment), stmt

    def invoke(
        self, micro: Function, pointers: tuple[Pointer, ...], scalars: tuple[Expr, ...]
    ) -> None:
        memory = {}
        for pointer, buffer in zip(pointers, (*micro.inputs, *micro.outputs), strict=True):
            assert pointer.buffer.dtype is buffer.dtype, (micro.name, buffer.name)
            elements, first = self.memory[pointer.buffer.name]
            memory[buffer.name] = (elements, first + self.whole(pointer.offset))
        values = {v.name: self.whole(s) for v, s in zip(micro.scalars, scalars, strict=True)}
        machine = _Machine(memory, values, {})
        machine.flat = True
        machine.body(micro.body)

    def whole(self, expr: Expr) -> int:
        value = self.expr(expr)
        assert isinstance(value, int)
        return value

    def element(self, buffer: Buffer, indices: tuple[Expr, ...]) -> tuple[list[Any], int]:
        elements, first = self.memory[buffer.name]
        offset = 0
        for extent, index in zip(buffer.shape, indices, strict=True):
            value = self.whole(index)
            inside = self.flat or first or 0 <= value < extent
            assert inside, f"{buffer.name}: index {value} of {extent}"
            offset = offset * extent + value
        assert 0 <= first + offset < len(elements), f"{buffer.name}: offset {first + offset}"
        return elements, first + offset

    def expr(self, expr: Expr) -> Any:
        match expr:
            case Imm(value):
                return value
            case Var(name):
                return self.values[name]
            case Load(buffer, indices, lanes):
                elements, at = self.element(buffer, indices)
                assert at + lanes <= len(elements), f"{buffer.name}: a word at {at}"
                found = elements[at : at + lanes]
                assert None not in found, f"{buffer.name}[{at}] was never written"
                return found[0] if lanes == 1 else _packed(found, buffer.dtype)
            case Cast(dtype, value):
                return _convert(self.expr(value), dtype)
            case Select(condition, a, b):
                return self.expr(a if self.expr(condition) else b)
            case Call(name, args):
                return INTRINSICS[name](*map(self.expr, args))
            case Binary("and", a, b):
                return self.expr(a) and self.expr(b)
            case Binary("or", a, b):
                return self.expr(a) or self.expr(b)
            case Binary(op, a, b):
                result = OPERATORS[op](self.expr(a), self.expr(b))
                _check_range(result, expr.dtype)
                return result
        raise AssertionError(expr)


def _packed(elements: list[int], dtype: DType) -> int:
    """Elements as one int32, the first one lowest."""
    word = 0
    for i, element in enumerate(elements):
        word |= (element & ((1 << dtype.bits) - 1)) << dtype.bits * i
    return int(_convert(word, DType.INT32))


def _unpacked(value: Scalar, lanes: int, dtype: DType) -> list[Scalar]:
    if lanes == 1:
        return [value]
    return [_convert(int(value) >> dtype.bits * i, dtype) for i in range(lanes)]


def _check_range(value: Scalar, dtype: DType) -> None:
    """Loop IR never overflows: a schedule may rely on it."""
    if dtype.is_integer:
        assert dtype.minimum <= value <= dtype.maximum, f"{value} is no {dtype.value}"


def _convert(value: Scalar, dtype: DType) -> Scalar:
    """As in C: integers wrap, floats truncate."""
    if dtype.is_float:
        return float(np.float32(value))
    if dtype is DType.BOOL:
        return int(bool(value))
    return (int(value) - dtype.minimum) % (1 << dtype.bits) + dtype.minimum
