"""Walking and rewriting loop IR: generic maps, substitution and constant folding.

``map_expr`` and ``map_body`` rebuild a tree bottom-up through a function; everything else here and
most passes are written with them. ``fold`` normalizes: literals are computed, neutral elements
dropped, conditions that are decided removed. ``linear`` reads an index expression as ``constant +
sum(coefficient * variable)``, and ``from_linear`` writes it back in one canonical order, which is
what makes equal addresses look equal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from operator import is_

from utvm.ir.dtype import DType
from utvm.ir.loop import (
    COMPARISONS,
    Alloc,
    Binary,
    Buffer,
    Call,
    Cast,
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

ExprMap = Callable[[Expr], Expr]
TRUE = Imm(1, DType.BOOL)
FALSE = Imm(0, DType.BOOL)
_LEAVES = (Imm, Var)
_FOLDED = (Select, Cast)


def map_expr(expr: Expr, change: ExprMap) -> Expr:
    """``expr`` rebuilt bottom-up, every node passed through ``change``.

    A node whose parts stay what they are stays the same object. A quarter of the compiler's time is
    spent here: hence no patterns.
    """
    if isinstance(expr, Binary):
        a, b = expr.a, expr.b
        new_a, new_b = map_expr(a, change), map_expr(b, change)
        if new_a is not a or new_b is not b:
            expr = Binary(expr.op, new_a, new_b)
    elif isinstance(expr, _LEAVES):
        pass
    elif isinstance(expr, Load):
        mapped = tuple([map_expr(i, change) for i in expr.indices])
        if not _same(mapped, expr.indices):
            expr = Load(expr.buffer, mapped, expr.lanes)
    elif isinstance(expr, Cast):
        new = map_expr(expr.value, change)
        if new is not expr.value:
            expr = Cast(expr.type, new)
    elif isinstance(expr, Select):
        parts = (expr.condition, expr.a, expr.b)
        mapped = tuple([map_expr(part, change) for part in parts])
        if not _same(mapped, parts):
            expr = Select(*mapped)
    elif isinstance(expr, Call):
        mapped = tuple([map_expr(a, change) for a in expr.args])
        if not _same(mapped, expr.args):
            expr = Call(expr.name, mapped, expr.type)
    return change(expr)


def _same(a: tuple[object, ...], b: tuple[object, ...]) -> bool:
    """Whether the elements of two tuples of one length are the same objects."""
    return all(map(is_, a, b))


def map_certain(expr: Expr, change: ExprMap) -> Expr:
    """``map_expr`` without the parts that are evaluated only sometimes.

    These are the sides of a ``Select`` and what stands right of ``and`` and ``or``: a load there
    may lie outside its buffer whenever it is not evaluated, so it must not move.
    """
    match expr:
        case Imm() | Var():
            pass
        case Load(buffer, indices, lanes):
            expr = Load(buffer, tuple([map_certain(i, change) for i in indices]), lanes)
        case Binary("and" | "or" as op, a, b):
            expr = Binary(op, map_certain(a, change), b)
        case Binary(op, a, b):
            expr = Binary(op, map_certain(a, change), map_certain(b, change))
        case Cast(dtype, value):
            expr = Cast(dtype, map_certain(value, change))
        case Select(condition, a, b):
            expr = Select(map_certain(condition, change), a, b)
        case Call(name, args, dtype):
            expr = Call(name, tuple([map_certain(a, change) for a in args]), dtype)
    return change(expr)


def map_stmt(stmt: Stmt, change: ExprMap) -> Stmt:
    """``stmt`` with every expression in it, at any depth, mapped."""
    match stmt:
        case Let(var, value):
            new = map_expr(value, change)
            return stmt if new is value else Let(var, new)
        case Store(buffer, indices, value, lanes):
            mapped = tuple([map_expr(i, change) for i in indices])
            new = map_expr(value, change)
            same = new is value and _same(mapped, indices)
            return stmt if same else Store(buffer, mapped, new, lanes)
        case For(var, start, stop, body, step, parallel):
            start, stop = map_expr(start, change), map_expr(stop, change)
            return For(var, start, stop, map_body(body, change), step, parallel)
        case View(pointer, base, offset):
            return View(pointer, base, map_expr(offset, change))
        case Invoke(pointers=pointers, scalars=scalars):
            pointers = tuple(Pointer(p.buffer, map_expr(p.offset, change)) for p in pointers)
            scalars = tuple(map_expr(s, change) for s in scalars)
            return Invoke(stmt.function, pointers, scalars)
        case If(condition, then, orelse):
            condition = map_expr(condition, change)
            return If(condition, map_body(then, change), map_body(orelse, change))
    return stmt


def map_body(body: tuple[Stmt, ...], change: ExprMap) -> tuple[Stmt, ...]:
    return tuple([map_stmt(stmt, change) for stmt in body])


def substitute(body: tuple[Stmt, ...], values: Mapping[str, Expr]) -> tuple[Stmt, ...]:
    """``body`` with variables replaced by expressions."""

    def change(expr: Expr) -> Expr:
        return values.get(expr.name, expr) if isinstance(expr, Var) else expr

    return map_body(body, change)


def substitute_expr(expr: Expr, values: Mapping[str, Expr]) -> Expr:
    return map_expr(expr, lambda e: values.get(e.name, e) if isinstance(e, Var) else e)


def rename_buffers(body: tuple[Stmt, ...], names: Mapping[str, Buffer]) -> tuple[Stmt, ...]:
    """``body`` with buffers replaced by name, in loads, stores and declarations."""

    def change(expr: Expr) -> Expr:
        if isinstance(expr, Load) and expr.buffer.name in names:
            return replace(expr, buffer=names[expr.buffer.name])
        return expr

    def visit(stmt: Stmt) -> Stmt:
        match stmt:
            case Store(buffer=buffer) if buffer.name in names:
                return replace(stmt, buffer=names[buffer.name])
            case Invoke(pointers=pointers):
                renamed = (replace(p, buffer=names.get(p.buffer.name, p.buffer)) for p in pointers)
                return replace(stmt, pointers=tuple(renamed))
            case Alloc(buffer) if buffer.name in names:
                return Alloc(names[buffer.name])
            case For(body=inner):
                return replace(stmt, body=tuple(map(visit, inner)))
            case If(condition, then, orelse):
                return If(condition, tuple(map(visit, then)), tuple(map(visit, orelse)))
        return stmt

    return tuple(map(visit, map_body(body, change)))


def statements(body: tuple[Stmt, ...]) -> Iterator[Stmt]:
    """Every statement, at any depth, in order."""
    for stmt in body:
        yield stmt
        match stmt:
            case For(body=inner):
                yield from statements(inner)
            case If(_, then, orelse):
                yield from statements(then)
                yield from statements(orelse)


def map_statements(body: tuple[Stmt, ...], change: Callable[[Stmt], Stmt]) -> tuple[Stmt, ...]:
    """``body`` rebuilt bottom-up, every statement passed through ``change``."""

    def visit(stmt: Stmt) -> Stmt:
        match stmt:
            case For(body=inner):
                stmt = replace(stmt, body=tuple(map(visit, inner)))
            case If(condition, then, orelse):
                stmt = If(condition, tuple(map(visit, then)), tuple(map(visit, orelse)))
        return change(stmt)

    return tuple(map(visit, body))


def expressions(body: tuple[Stmt, ...]) -> Iterator[Expr]:
    """Every expression node, at any depth."""
    found: list[Expr] = []
    map_body(body, lambda e: found.append(e) or e)  # type: ignore[func-returns-value]
    yield from found


def used_names(function: Function) -> set[str]:
    """Every name in a function, of variables and buffers; a new name must be none of them."""
    buffers = (function.inputs, function.outputs, function.workspace, function.constants)
    names = {buffer.name for group in buffers for buffer in group}
    for stmt in statements(function.body):
        match stmt:
            case For(var=var) | Let(var=var):
                names.add(var.name)
            case Alloc(buffer) | Store(buffer=buffer) | View(pointer=buffer):
                names.add(buffer.name)
            case Invoke(pointers=pointers):
                names.update(pointer.buffer.name for pointer in pointers)
    for expr in expressions(function.body):
        match expr:
            case Var(name):
                names.add(name)
            case Load(buffer):
                names.add(buffer.name)
    return names


def free_vars(expr: Expr) -> set[str]:
    """The names of the variables in an expression."""
    names: set[str] = set()

    def visit(e: Expr) -> Expr:
        if isinstance(e, Var):
            names.add(e.name)
        return e

    map_expr(expr, visit)
    return names


@dataclass(frozen=True)
class Linear:
    """``constant + sum(coefficient * variable)`` over int32; no zero coefficients."""

    constant: int
    terms: tuple[tuple[str, int], ...] = ()

    def coefficient(self, name: str) -> int:
        return dict(self.terms).get(name, 0)


def linear(expr: Expr) -> Linear | None:
    """The linear form of an index expression, or None if it has none."""
    terms: dict[str, int] = {}
    constant = _collect(expr, 1, terms)
    if constant is None:
        return None
    return Linear(constant, tuple(sorted([term for term in terms.items() if term[1] != 0])))


def _collect(expr: Expr, factor: int, terms: dict[str, int]) -> int | None:
    """Adds the variables of ``factor * expr`` to ``terms``; its constant, None if not linear."""
    match expr:
        case Imm(value=int(value)):
            return factor * value
        case Var(name):
            terms[name] = terms.get(name, 0) + factor
            return 0
        case Binary("+" | "-" as op, a, b):
            left = _collect(a, factor, terms)
            right = _collect(b, factor if op == "+" else -factor, terms)
            return None if left is None or right is None else left + right
        case Binary("*", a, Imm(value=int(value))):
            return _collect(a, factor * value, terms)
        case Binary("*", a, b):
            left_form, right_form = linear(a), linear(b)
            if left_form is None or right_form is None:
                return None
            if right_form.terms:
                a, right_form = b, left_form
            return None if right_form.terms else _collect(a, factor * right_form.constant, terms)
    return None


def from_linear(form: Linear) -> Expr:
    """The canonical expression of a linear form: largest strides first, the constant last."""
    result: Expr | None = None
    for name, coefficient in sorted(form.terms, key=lambda term: (-abs(term[1]), term[0])):
        var = Var(name)
        if result is None:
            result = var if coefficient == 1 else Binary("*", var, Imm(coefficient))
        else:
            size = abs(coefficient)
            term: Expr = var if size == 1 else Binary("*", var, Imm(size))
            result = Binary("+" if coefficient > 0 else "-", result, term)
    if result is None:
        return Imm(form.constant)
    if form.constant:
        op = "+" if form.constant > 0 else "-"
        result = Binary(op, result, Imm(abs(form.constant)))
    return result


def simplify_index(expr: Expr) -> Expr:
    """The canonical form of an index expression, or the expression where it is not linear."""
    form = linear(expr)
    return expr if form is None else from_linear(form)


def fold(expr: Expr) -> Expr:
    """One level of simplification; use through ``map_expr`` for whole trees."""
    if isinstance(expr, Binary):
        return _fold_binary(expr)
    if not isinstance(expr, _FOLDED):
        return expr
    match expr:
        case Select(Imm(value=value), a, b):
            return a if value else b
        case Cast(dtype, value) if value.dtype is dtype:
            return value
        case Cast(dtype, Imm(value=int(value))) if dtype.is_integer:
            return Imm(_wrap(value, dtype), dtype)
    return expr


def _fold_binary(expr: Binary) -> Expr:
    if not (isinstance(expr.a, Imm) or isinstance(expr.b, Imm)) and expr.op not in ("and", "or"):
        return expr  # nearly all are so
    match expr:
        case Binary(op, Imm(value=a), Imm(value=b)) if not expr.a.dtype.is_float:
            return _fold_literals(expr, op, int(a), int(b))
        case Binary("+" | "-" | "<<" | ">>", a, Imm(value=0)) | Binary("+", Imm(value=0), a):
            return a if not a.dtype.is_float else expr
        case Binary("+" | "-" as op, a, Imm(value=value)) if _negatable(value, a.dtype):
            return Binary("-" if op == "+" else "+", a, Imm(-value, a.dtype))
        case (
            Binary("*", a, Imm(value=1))
            | Binary("*", Imm(value=1), a)
            | Binary("/", a, Imm(value=1))
        ):
            return a
        case Binary("and", a, b):
            return _fold_and(expr, a, b)
        case Binary("or", a, b):
            return _fold_or(expr, a, b)
    return expr


def _negatable(value: int | float, dtype: DType) -> bool:
    """Whether a literal is negative and its opposite a literal of the same type."""
    return not dtype.is_float and dtype.minimum < value < 0


def simplify(expr: Expr) -> Expr:
    """``fold`` over a whole tree."""
    return map_expr(expr, fold)


def simplify_body(body: tuple[Stmt, ...]) -> tuple[Stmt, ...]:
    """``fold`` everywhere, with decided branches and empty or single-trip loops resolved."""
    result: list[Stmt] = []
    for stmt in body:
        result.extend(_simplify_stmt(stmt))
    return tuple(result)


def _simplify_stmt(stmt: Stmt) -> tuple[Stmt, ...]:
    match stmt:
        case For(var, start, stop, body):
            start, stop = simplify(simplify_index(start)), simplify(simplify_index(stop))
            if isinstance(start, Imm) and isinstance(stop, Imm):
                if stop.value <= start.value:
                    return ()
                if stop.value - start.value <= stmt.step:
                    return simplify_body(substitute(body, {var.name: start}))
            inner = simplify_body(body)
            return (replace(stmt, start=start, stop=stop, body=inner),) if inner else ()
        case If(condition, then, orelse):
            condition = simplify(condition)
            if isinstance(condition, Imm):
                return simplify_body(then if condition.value else orelse)
            return (If(condition, simplify_body(then), simplify_body(orelse)),)
        case Store(indices=indices, value=value):
            indices = tuple(simplify(simplify_index(i)) for i in indices)
            return (replace(stmt, indices=indices, value=simplify(value)),)
        case Invoke(pointers=pointers, scalars=scalars):
            pointers = tuple(
                Pointer(p.buffer, simplify(simplify_index(p.offset))) for p in pointers
            )
            scalars = tuple(simplify(simplify_index(s)) for s in scalars)
            return (replace(stmt, pointers=pointers, scalars=scalars),)
    return (map_stmt(stmt, fold),)


def _fold_literals(expr: Binary, op: str, a: int, b: int) -> Expr:
    if op in ("/", "%") and b == 0:
        return expr
    results = {
        "+": a + b,
        "-": a - b,
        "*": a * b,
        "/": abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1) if b else 0,
        "%": (abs(a) % abs(b)) * (-1 if a < 0 else 1) if b else 0,
        "min": min(a, b),
        "max": max(a, b),
        "<<": a << b if 0 <= b < 64 else 0,
        ">>": a >> b if 0 <= b < 64 else 0,
        "&": a & b,
        "|": a | b,
        "^": a ^ b,
        "<": a < b,
        "<=": a <= b,
        ">": a > b,
        ">=": a >= b,
        "==": a == b,
        "!=": a != b,
        "and": bool(a) and bool(b),
        "or": bool(a) or bool(b),
    }
    value = int(results[op])
    if op in COMPARISONS:
        return Imm(value, DType.BOOL)
    return Imm(_wrap(value, expr.dtype), expr.dtype)


def _wrap(value: int, dtype: DType) -> int:
    return (value - dtype.minimum) % (1 << dtype.bits) + dtype.minimum


def _fold_and(expr: Binary, a: Expr, b: Expr) -> Expr:
    if FALSE in (a, b):
        return FALSE
    if a == TRUE:
        return b
    return a if b == TRUE else expr


def _fold_or(expr: Binary, a: Expr, b: Expr) -> Expr:
    if TRUE in (a, b):
        return TRUE
    if a == FALSE:
        return b
    return a if b == FALSE else expr
