"""What a kernel is for tuning: a name that all kernels share which schedules treat alike.

In: an unscheduled kernel. Out: a ``Workload``, whose key is a digest of the kernel's loops with
everything taken away that schedules do not look at: names, the values of weights and of literals in
the arithmetic. Shapes, strides, padding, element types and the form of the epilogue stay. Two
layers of one network, or of two networks, that differ in nothing else have the same key.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from utvm.ir.dtype import DType
from utvm.ir.graph import TensorType
from utvm.ir.loop import Binary, Call, Cast, Expr, Function, Imm, Let, Select, Stmt, Store
from utvm.ir.print_loop import print_function
from utvm.ir.rewrite import map_statements, statements

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_KEY_LENGTH = 16


@dataclass(frozen=True)
class Workload:
    """``key`` decides; ``about`` is for people: operator and types."""

    key: str
    about: str


def workload_of(function: Function) -> Workload:
    """The workload of an unscheduled kernel."""
    digest = hashlib.sha256(canonical_text(function).encode()).hexdigest()
    types = [str(TensorType(b.shape, b.dtype)) for b in (*function.inputs, *function.constants)]
    results = [str(TensorType(b.shape, b.dtype)) for b in function.outputs]
    about = f"{function.op}({', '.join(types)}) -> {', '.join(results)}"
    return Workload(digest[:_KEY_LENGTH], about)


def canonical_text(function: Function) -> str:
    """The kernel's text, with names by position and without numbers of the arithmetic."""
    plain = replace(function, name="kernel", comment=(), body=map_statements(function.body, _plain))
    names = {name: f"_{at}" for at, name in enumerate(_given_names(function))}
    return _NAME.sub(lambda found: names.get(found[0], found[0]), print_function(plain))


def _given_names(function: Function) -> Iterator[str]:
    """Names that depend on the network: of operands, constants and results of operators."""
    seen: set[str] = set()
    buffers = (*function.inputs, *function.constants, *function.outputs)
    lets = (s.var.name for s in statements(function.body) if isinstance(s, Let))
    for name in (*(b.name for b in buffers), *lets):
        if name not in seen:
            seen.add(name)
            yield name


def _plain(stmt: Stmt) -> Stmt:
    match stmt:
        case Store(value=value):
            return replace(stmt, value=_without_numbers(value))
        case Let(var, value):
            return Let(var, _without_numbers(value))
    return stmt


def _without_numbers(value: Expr) -> Expr:
    """Literals are zeros, but for those that say where something lies or when."""
    match value:
        case Imm(_, dtype):
            return Imm(0.0 if dtype is DType.FLOAT32 else 0, dtype)
        case Binary(op, a, b):
            return Binary(op, _without_numbers(a), _without_numbers(b))
        case Cast(dtype, inner):
            return Cast(dtype, _without_numbers(inner))
        case Select(condition, a, b):
            return Select(condition, _without_numbers(a), _without_numbers(b))
        case Call(name, args, dtype):
            return Call(name, tuple(map(_without_numbers, args)), dtype)
    return value
