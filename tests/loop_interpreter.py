"""Executes loop IR directly, statement by statement: what a schedule must not change.

In: a function and one array per input and constant. Out: its outputs. Each statement becomes one
line of Python, which is run. Strict: int32 arithmetic that overflows, an access outside of a buffer
and a read of what was never written are errors. Only the integer intrinsics that the tests need
exist here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
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
Program = Callable[[dict[str, Memory], dict[str, Any], Callable[..., None]], None]
"""A function as Python: runs on memory and values by name; the third argument invokes."""


def _divide(a: int, b: int) -> int:
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


def _remainder(a: int, b: int) -> int:
    return a - b * _divide(a, b)


FUNCTIONS = {"/": "_divide", "%": "_remainder", "min": "min", "max": "max"}
"""What Python has no operator for, or another one."""


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
    _Machine({micro.name: micro for micro in micros}).run(function, memory, dict(scalars or {}))
    results = {}
    for buffer in function.outputs:
        elements, _ = memory[buffer.name]
        assert None not in elements, f"{buffer.name} is not written in full"
        results[buffer.name] = np.array(elements, buffer.dtype.numpy).reshape(buffer.shape)
    return results


@dataclass
class _Machine:
    """Runs functions: each becomes Python text once, statement by statement."""

    micros: Mapping[str, Function]
    programs: dict[str, Program] = field(default_factory=dict)

    def run(self, function: Function, memory: dict[str, Memory], values: dict[str, Any]) -> None:
        text = _Writer(flat=False).function(function)
        _compiled(text)(memory, values, self.invoke)

    def invoke(self, name: str, pointers: Sequence[Memory], scalars: Sequence[int]) -> None:
        """A micro function on pointers: its buffers begin inside of larger ones."""
        micro = self.micros[name]
        if name not in self.programs:
            self.programs[name] = _compiled(_Writer(flat=True).function(micro))
        buffers = (*micro.inputs, *micro.outputs)
        memory = {b.name: place for b, place in zip(buffers, pointers, strict=True)}
        values = {var.name: value for var, value in zip(micro.scalars, scalars, strict=True)}
        self.programs[name](memory, values, _no_micros)


def _no_micros(name: str, pointers: Sequence[Memory], scalars: Sequence[int]) -> None:
    raise AssertionError(f"a micro function invokes {name}")


def _compiled(text: str) -> Program:
    """The function ``run`` of a text that ``_Writer`` wrote."""
    names = dict(globals())
    exec(text, names)
    run: Program = names["run"]
    return run


@dataclass
class _Writer:
    """Loop IR as Python. ``flat``: buffers are pointers into larger ones, without extents.

    In the text ``v`` holds values of variables and ``m`` memory, by name. What may go wrong is a
    call of a function below: ``at``, ``load``, ``store``, ``checked``.
    """

    flat: bool

    def function(self, function: Function) -> str:
        lines = ["def run(m, v, invoke):", *self.body(function.body, 1)]
        return "\n".join([*lines, " return", ""])

    def body(self, body: tuple[Stmt, ...], depth: int) -> list[str]:
        return [line for stmt in body for line in self.stmt(stmt, depth)] or [" " * depth + "pass"]

    def stmt(self, stmt: Stmt, depth: int) -> list[str]:
        indent = " " * depth
        match stmt:
            case For(var, start, stop, body, step):
                bounds = f"{self.expr(start)}, {self.expr(stop)}, {step}"
                head = f"{indent}for v[{var.name!r}] in range({bounds}):"
                return [head, *self.body(body, depth + 1)]
            case If(condition, then, orelse):
                head, other = f"{indent}if {self.expr(condition)}:", f"{indent}else:"
                return [head, *self.body(then, depth + 1), other, *self.body(orelse, depth + 1)]
            case Store(buffer, indices, value, lanes):
                place = f"{self.place(buffer, indices)}, {lanes}, {buffer.dtype}"
                return [f"{indent}store({self.expr(value)}, {value.dtype}, {place})"]
            case Invoke(name, pointers, scalars):
                places = "".join(f"{self.pointer(p.buffer, p.offset)}, " for p in pointers)
                numbers = "".join(f"{self.expr(scalar)}, " for scalar in scalars)
                return [f"{indent}invoke({name!r}, ({places}), ({numbers}))"]
            case Let(var, value):
                return [f"{indent}v[{var.name!r}] = {self.expr(value)}"]
            case Alloc(buffer):
                return [f"{indent}m[{buffer.name!r}] = ([None] * {buffer.elements}, 0)"]
            case View(pointer, base, offset):
                return [f"{indent}m[{pointer.name!r}] = {self.pointer(base, offset)}"]
        assert isinstance(stmt, Comment), stmt
        return []

    def pointer(self, buffer: Buffer, offset: Expr) -> str:
        return f"moved(m[{buffer.name!r}], {self.expr(offset)})"

    def place(self, buffer: Buffer, indices: tuple[Expr, ...]) -> str:
        """The elements of a buffer and the position among them, as two arguments."""
        shown = "".join(f"{self.expr(index)}, " for index in indices)
        shape = f"{buffer.name!r}, {buffer.shape}, {self.flat}"
        return f"*at(m[{buffer.name!r}], ({shown}), {shape})"

    def expr(self, expr: Expr) -> str:
        match expr:
            case Imm(value):
                return f"float('{value!r}')" if isinstance(value, float) else repr(value)
            case Var(name):
                return f"v[{name!r}]"
            case Load(buffer, indices, lanes):
                return f"load({self.place(buffer, indices)}, {lanes}, {buffer.dtype})"
            case Cast(dtype, value):
                return f"_convert({self.expr(value)}, {dtype})"
            case Select(condition, a, b):
                return f"({self.expr(a)} if {self.expr(condition)} else {self.expr(b)})"
            case Call(name, args):
                return f"INTRINSICS[{name!r}]({', '.join(map(self.expr, args))})"
            case Binary("and" | "or" as op, a, b):
                return f"({self.expr(a)} {op} {self.expr(b)})"
            case Binary(op, a, b):
                function = FUNCTIONS.get(op)
                left, right = self.expr(a), self.expr(b)
                text = f"{function}({left}, {right})" if function else f"({left} {op} {right})"
                return f"checked({text}, {expr.dtype})" if expr.dtype.is_integer else text
        raise AssertionError(expr)


def at(
    memory: Memory, indices: tuple[int, ...], name: str, shape: tuple[int, ...], flat: bool
) -> tuple[list[Any], int]:
    """The elements of a buffer and the position of one of them."""
    elements, first = memory
    offset = 0
    for extent, value in zip(shape, indices, strict=True):
        inside = flat or first or 0 <= value < extent
        assert inside, f"{name}: index {value} of {extent}"
        offset = offset * extent + value
    assert 0 <= first + offset < len(elements), f"{name}: offset {first + offset}"
    return elements, first + offset


def moved(memory: Memory, offset: int) -> Memory:
    elements, first = memory
    return elements, first + offset


def load(elements: list[Any], place: int, lanes: int, dtype: DType) -> Any:
    found = elements[place] if lanes == 1 else elements[place : place + lanes]
    assert place + lanes <= len(elements), f"a word at {place}"
    if lanes == 1:
        assert found is not None, f"element {place} was never written"
        return found
    assert None not in found, f"element {place} was never written"
    return _packed(found, dtype)


def store(
    value: Scalar, type: DType, elements: list[Any], place: int, lanes: int, dtype: DType
) -> None:
    _check_range(value, type)
    if lanes == 1:
        elements[place] = value
    else:
        assert place + lanes <= len(elements), f"a word at {place}"
        elements[place : place + lanes] = _unpacked(value, lanes, dtype)


def checked(value: Scalar, dtype: DType) -> Scalar:
    """Loop IR never overflows, but for uint32: a schedule may rely on it."""
    if dtype is DType.UINT32:
        return _convert(value, dtype)
    _check_range(value, dtype)
    return value


def _packed(elements: list[int], dtype: DType) -> int:
    """Elements as one int32, the first one lowest."""
    word = 0
    for i, element in enumerate(elements):
        word |= (element & ((1 << dtype.bits) - 1)) << dtype.bits * i
    return int(_convert(word, DType.INT32))


def _unpacked(value: Scalar, lanes: int, dtype: DType) -> list[Scalar]:
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
