"""Kernels without an anchor, element by element, as micro functions: the whole kernel.

In: an unscheduled kernel of independent elements. Out: its outer loops around a micro function that
makes a few elements a turn along the innermost one, and a loop for those that are left; or None
where the back end has no instructions for it (floats, 64 bits) or nothing is computed. The elements
of a turn are independent, so their loads and chains of arithmetic overlap.

    for i in 0..N: out[i] = f(a[i], b[i])      elementwise(a, b, out, N / 4);  for i in tail: ...
"""

from __future__ import annotations

from dataclasses import replace

from utvm.ir.dtype import DType
from utvm.ir.isa.table import INSTRUCTIONS
from utvm.ir.loop import (
    Binary,
    Buffer,
    Call,
    Cast,
    Expr,
    For,
    Function,
    Imm,
    Invoke,
    Let,
    Load,
    Pointer,
    Select,
    Stmt,
    Store,
    Var,
)
from utvm.ir.rewrite import Linear, expressions, linear, map_expr, map_statements, simplify_body
from utvm.schedule.conv_kernel import Scheduled
from utvm.schedule.epilogue import Epilogue
from utvm.schedule.primitives import extent
from utvm.schedule.short_rescale import shorten

COUNT, TURN = Var("count"), Var("turn")
LEAST_ELEMENTS = 8
"""Shorter loops are left to the compiler."""
SMALL = 10
"""Kernels of so many operations at most make ``MANY`` elements a turn, others ``FEW``."""
MANY, FEW = 8, 4

_CALLS = frozenset(
    (*INSTRUCTIONS, "mulhi", "mulhi_long", "mulhi_rounding", "requantize_right", "clz")
)
_NO_ACCUMULATOR = Buffer("no_accumulator", DType.INT32, (), "register")


def turn_elements(function: Function) -> tuple[int, int]:
    """How many elements a turn makes where nothing was measured, and how many it can make."""
    nest = _nest(shortened(function))
    return (0, 0) if nest is None else (_default(nest[1]), extent(nest[1]))


def _default(inner: For) -> int:
    return MANY if _operations(inner.body) <= SMALL else FEW


def schedule_elementwise(function: Function, elements: int = 0) -> Scheduled | None:
    """The kernel as micro function, or None. A turn makes so many ``elements``, 0: as many as is
    good most of the time."""
    nest = _nest(shortened(function))
    if nest is None:
        return None
    outer, inner = nest
    count = extent(inner)
    each = elements or _default(inner)
    turns = count // each
    epilogue = _reader(inner, outer, turns * each)
    body: list[Stmt] = []
    for element in range(each):
        inside = {inner.var.name: TURN * each + element}
        body += epilogue.result(inside, _NO_ACCUMULATOR, _no_constant, str(element))
    if not epilogue.legal:
        return None
    inputs, outputs = epilogue.parameters()
    micro = Function(
        "elementwise",
        inputs,
        outputs,
        simplify_body(epilogue.resized((For(TURN, Imm(0), COUNT, tuple(body), parallel=True),))),
        comment=(f"{each} elements a turn: {function.op}.",),
        scalars=(COUNT,),
    )
    nested = _calls(epilogue, micro, turns)
    if count % each:
        nested += (replace(inner, start=Imm(turns * each)),)
    for loop in reversed(outer):
        nested = (replace(loop, body=nested),)
    return Scheduled(replace(function, body=simplify_body(nested)), (micro,))


def shortened(function: Function) -> Function:
    """The function with short rescales in its innermost loops."""

    def change(stmt: Stmt) -> Stmt:
        if isinstance(stmt, For) and all(isinstance(s, Let | Store) for s in stmt.body):
            return replace(stmt, body=_with_named_indices(shorten(stmt.body)))
        return stmt

    return replace(function, body=map_statements(function.body, change))


def _with_named_indices(body: tuple[Stmt, ...]) -> tuple[Stmt, ...]:
    """Narrow elements that say where a table is read get names, so that no index holds a load."""
    result: list[Stmt] = []

    def name(expr: Expr) -> Expr:
        if isinstance(expr, Load) and expr.buffer.scope != "register" and expr.dtype.bits < 32:
            var = Var(f"at{len(result)}", expr.dtype)
            result.append(Let(var, expr))
            return var
        return expr

    def change(expr: Expr) -> Expr:
        if isinstance(expr, Load) and any(map(_loads, expr.indices)):
            return Load(expr.buffer, tuple(map_expr(index, name) for index in expr.indices))
        return expr

    for stmt in body:
        match stmt:
            case Let(var, value):
                result.append(Let(var, map_expr(value, change)))
            case Store(buffer, indices, value, lanes):
                result.append(Store(buffer, indices, map_expr(value, change), lanes))
            case _:
                result.append(stmt)
    return tuple(result)


def _loads(expr: Expr) -> bool:
    return any(isinstance(e, Load) for e in expressions((_let(expr),)))


def _no_constant(position: int) -> Expr:
    raise AssertionError("there are no constants by filter")


def _nest(function: Function) -> tuple[list[For], For] | None:
    """The loops around the innermost one, and it; None if this schedule does not serve them."""
    if len(function.body) != 1 or len(function.outputs) != 1 or function.workspace:
        return None
    outer: list[For] = []
    stmt = function.body[0]
    while isinstance(stmt, For) and stmt.parallel and stmt.step == 1:
        *before, last = stmt.body
        if isinstance(last, Store):
            computes = bool(before) or not isinstance(last.value, Load | Imm)
            plain = all(isinstance(s, Let) for s in before) and last.lanes == 1
            long = extent(stmt) >= LEAST_ELEMENTS and stmt.start == Imm(0)
            known = all(map(_is_selectable, expressions(stmt.body)))
            return (outer, stmt) if computes and plain and long and known else None
        if before or not isinstance(last, For):
            return None
        outer.append(stmt)
        stmt = last
    return None


def _is_selectable(expr: Expr) -> bool:
    """Whether the back end has instructions for a node, as far as its kind and type tell."""
    if expr.dtype.is_float or expr.dtype.bits > 32:
        return False
    match expr:
        case Call("requantize_right", (_, _, shift)):
            return isinstance(shift, Imm)
        case Call(name):
            return name in _CALLS
        case Select(_, a, b):
            return not (_loads(a) or _loads(b))
        case Load(_, indices):
            # A word says where a table is read: that would be taken for a loop variable.
            return not any(map(_loads, indices))
        case Binary("/" | "%" | "and" | "or"):
            return False
    return True


def _let(value: Expr) -> Let:
    return Let(Var("value", value.dtype), value)


def _operations(body: tuple[Stmt, ...]) -> int:
    return sum(isinstance(e, Binary | Call | Select | Cast) for e in expressions(body))


def _reader(inner: For, outer: list[For], count: int) -> Epilogue:
    """Takes the statements of one element over, as it does behind a convolution's sum."""
    names = frozenset((inner.var.name, *(loop.var.name for loop in outer)))
    none = linear(Imm(0))
    assert isinstance(none, Linear)
    return Epilogue(inner.body, _NO_ACCUMULATOR, 1, none, {inner.var.name: count - 1}, names)


def _calls(epilogue: Epilogue, micro: Function, turns: int) -> tuple[Stmt, ...]:
    """The call with a pointer to each operand's first element."""
    inputs: list[Pointer] = []
    outputs: list[Pointer] = []
    for operand in epilogue.operands.values():
        buffer = operand.buffer.view(operand.buffer.elements)
        of_result = buffer.scope == "output"
        (outputs if of_result else inputs).append(Pointer(buffer, operand.outer))
    return (Invoke(micro.name, (*inputs, *outputs), (Imm(turns),)),)
