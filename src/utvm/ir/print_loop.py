"""The loop IR as text that ``parse_loop`` reads back to an equal function.

In: a function or a module at any stage. Out: its text, one statement per line. A buffer seen in
another shape than declared says so (``x.view(4, 16)[i, j]``); literals other than int32 carry their
type (``3i8``, ``0.5f``). Constants larger than a few elements appear with their type only.

    function relu_0 op "clip" {
      input x: int8[4,16]
      output y: int8[4,16]
      for i0 in 0..64 parallel {
        y.view(64)[i0] = max(x.view(64)[i0], 0i8)
      }
    }
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from utvm.ir.dtype import DType, dtype_of
from utvm.ir.graph import TensorType
from utvm.ir.intrinsics import INTRINSICS
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
    Module,
    Select,
    Stmt,
    Store,
    Var,
    View,
)
from utvm.ir.print_graph import INLINE_ELEMENTS, format_data

PRECEDENCE = {
    "or": 1, "and": 2, "<": 3, "<=": 3, ">": 3, ">=": 3, "==": 3, "!=": 3, "|": 4, "^": 5, "&": 6,
    "<<": 7, ">>": 7, "+": 8, "-": 8, "*": 9, "/": 9, "%": 9,
}  # fmt: skip
"""How tightly the infix operators bind; equal ones group to the left."""

COMPARE = 3
SUFFIXES = {
    DType.INT8: "i8",
    DType.INT16: "i16",
    DType.INT64: "i64",
    DType.UINT8: "u8",
    DType.UINT16: "u16",
    DType.UINT32: "u32",
    DType.FLOAT32: "f",
}
"""Behind literals; an int32 has none."""


def print_module(module: Module) -> str:
    """The text of a module; ends with a newline."""
    inputs, outputs = ", ".join(module.inputs), ", ".join(module.outputs)
    lines = [f"module {module.name}({inputs}) -> ({outputs}) {{"]
    lines += [f"  tensor {_buffer(name, b)}" for name, b in module.tensors.items()]
    lines += [f"  alias {name} = {target}" for name, target in module.aliases.items()]
    for name, data in module.constants.items():
        type = TensorType(tuple(data.shape), dtype_of(data))
        elements = f" = {format_data(data)}" if data.size <= INLINE_ELEMENTS else ""
        lines.append(f"  const {name}: {type}{elements}")
    for call in module.calls:
        arguments, results = ", ".join(call.inputs), ", ".join(call.outputs)
        lines.append(f"  call {call.function}({arguments}) -> ({results})")
    for role, functions in (("", module.functions), ("micro ", module.micros)):
        for function in functions:
            first, *others = _function(function)
            lines += ["", f"  {role}{first}", *(f"  {line}" for line in others)]
    return "\n".join([*lines, "}"]) + "\n"


def print_function(function: Function) -> str:
    """The text of one function; ends with a newline."""
    return "\n".join(_function(function)) + "\n"


def print_expr(expr: Expr) -> str:
    """The text of an expression, with every buffer in its own shape."""
    return _Printer({}).expr(expr)


def _buffer(name: str, buffer: Buffer) -> str:
    return f"{name}: {TensorType(buffer.shape, buffer.dtype)}"


def _function(function: Function) -> Iterator[str]:
    head = f"function {function.name}"
    if function.op:
        head += f" op {json.dumps(function.op)}"
    if function.macs:
        head += f" macs {function.macs}"
    if function.in_place:
        head += f" in_place [{', '.join(map(str, function.in_place))}]"
    if function.scalars:
        head += f" scalars ({', '.join(var.name for var in function.scalars)})"
    yield f"{head} {{"
    for line in function.comment:
        yield f"  about {json.dumps(line)}"
    shapes: dict[str, tuple[int, ...]] = {}
    for role, buffers in (
        ("input", function.inputs),
        ("const", function.constants),
        ("workspace", function.workspace),
        ("output", function.outputs),
    ):
        for buffer in buffers:
            shapes[buffer.name] = buffer.shape
            yield f"  {role} {_buffer(buffer.name, buffer)}"
    yield from _Printer(shapes).body(function.body, "  ")
    yield "}"


class _Printer:
    """Prints statements; ``shapes`` holds the declared shapes of the buffers seen so far."""

    def __init__(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self._shapes = dict(shapes)

    def body(self, body: tuple[Stmt, ...], pad: str) -> Iterator[str]:
        for stmt in body:
            yield from self._stmt(stmt, pad)

    def _stmt(self, stmt: Stmt, pad: str) -> Iterator[str]:
        match stmt:
            case For(var, start, stop, body, step, parallel):
                words = f" step {step}" if step != 1 else ""
                words += " parallel" if parallel else ""
                bounds = f"{self.expr(start)}..{self.expr(stop)}"
                yield f"{pad}for {var.name} in {bounds}{words} {{"
                yield from self.body(body, pad + "  ")
                yield f"{pad}}}"
            case If(condition, then, orelse):
                yield f"{pad}if {self.expr(condition)} {{"
                yield from self.body(then, pad + "  ")
                if orelse:
                    yield f"{pad}}} else {{"
                    yield from self.body(orelse, pad + "  ")
                yield f"{pad}}}"
            case Store(buffer, indices, value, lanes):
                yield f"{pad}{self._element(buffer, indices, lanes)} = {self.expr(value)}"
            case Invoke(function, pointers, scalars):
                places = [f"{self._reshaped(p.buffer)}[{self.expr(p.offset)}]" for p in pointers]
                places += [self.expr(scalar) for scalar in scalars]
                yield f"{pad}invoke {function}({', '.join(places)})"
            case Let(var, value):
                yield f"{pad}let {var.name}: {var.dtype.value} = {self.expr(value)}"
            case Alloc(buffer):
                self._shapes[buffer.name] = buffer.shape
                yield f"{pad}alloc {_buffer(buffer.name, buffer)}"
            case View(pointer, base, offset):
                self._shapes[pointer.name] = pointer.shape
                at = f"{self._reshaped(base)}[{self.expr(offset)}]"
                yield f"{pad}view {_buffer(pointer.name, pointer)} = {at}"
            case Comment(text):
                yield f"{pad}note {json.dumps(text)}"
            case _:
                raise AssertionError(stmt)

    def expr(self, expr: Expr, outer: int = 0) -> str:
        """The text, in parentheses if it binds less than ``outer``."""
        match expr:
            case Imm(value, dtype):
                return _literal(value, dtype)
            case Var(name):
                return name
            case Load(buffer, indices, lanes):
                return self._element(buffer, indices, lanes)
            case Cast(dtype, value):
                return f"{dtype.value}({self.expr(value)})"
            case Select(condition, a, b):
                return f"select({self._list((condition, a, b))})"
            case Call(name, args, dtype):
                usual = name in INTRINSICS and INTRINSICS[name].result is dtype
                return f"{name}{'' if usual else f':{dtype.value}'}({self._list(args)})"
            case Binary(op, a, b) if op in ("min", "max"):
                return f"{op}({self._list((a, b))})"
            case Binary(op, a, b):
                binds = PRECEDENCE[op]
                left = self.expr(a, binds + (binds == COMPARE))
                text = f"{left} {op} {self.expr(b, binds + 1)}"
                return f"({text})" if binds < outer else text
        raise AssertionError(expr)

    def _list(self, many: tuple[Expr, ...]) -> str:
        return ", ".join(self.expr(one) for one in many)

    def _element(self, buffer: Buffer, indices: tuple[Expr, ...], lanes: int) -> str:
        packed = f" lanes {lanes}" if lanes != 1 else ""
        return f"{self._reshaped(buffer)}[{self._list(indices)}]{packed}"

    def _reshaped(self, buffer: Buffer) -> str:
        if self._shapes.get(buffer.name, buffer.shape) == buffer.shape:
            return buffer.name
        return f"{buffer.name}.view({', '.join(map(str, buffer.shape))})"


def _literal(value: int | float, dtype: DType) -> str:
    if dtype is DType.BOOL:
        return "true" if value else "false"
    if dtype.is_float:
        text = repr(float(value))
        return text if text.endswith(("inf", "nan")) else f"{text}f"
    return f"{int(value)}{SUFFIXES.get(dtype, '')}"
