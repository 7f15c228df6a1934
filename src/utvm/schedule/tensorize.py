"""tensorize: a loop that does what an instruction does becomes that instruction (TVM, Chen et al.,
OSDI 2018).

An instruction of ``utvm.ir.isa`` has a body, a loop over the elements of its words. The loop that
is to be replaced must be equal to it, with buffers and starting places of its own; operands of sums
and products may stand in either order.

    for k in 0..2: acc[] = acc[] + int32(x[r + k]) * int32(w[c, r + k])      x, w: int16
    ---
    acc[] = smlad(x[r] lanes 2, w[c, r] lanes 2, acc[])
"""

from __future__ import annotations

from utvm.ir.dtype import DType
from utvm.ir.isa.instruction import Instruction
from utvm.ir.isa.table import INSTRUCTIONS
from utvm.ir.loop import Call, Expr, For, Function, Imm, Load, Stmt, Store
from utvm.ir.parse_loop import parse_function
from utvm.ir.print_loop import print_expr
from utvm.ir.rewrite import from_linear, simplify_body
from utvm.schedule.match import Matcher, Place
from utvm.schedule.primitives import contents, extent, rewrite_loops
from utvm.schedule.region import Ranges, ranges_of, stays_inside
from utvm.schedule.steps import primitive
from utvm.support.errors import ScheduleError


@primitive
def tensorize(function: Function, name: str, instruction: str) -> Function:
    """Replaces loop ``name`` by a named instruction."""
    where = f"{function.name}: loop {name}"
    found = _known(instruction, where)
    body = parse_function(found.body)
    ranges = ranges_of(function)

    def change(stmt: For) -> tuple[Stmt, ...]:
        return (_replaced(stmt, found, body, ranges, where),)

    return rewrite_loops(function, name, change)


def _known(name: str, where: str) -> Instruction:
    with_bodies = {n: one for n, one in INSTRUCTIONS.items() if one.body}
    if name not in with_bodies:
        raise ScheduleError(
            "no such instruction",
            where=where,
            expected=", ".join(with_bodies),
            found=name,
        )
    return with_bodies[name]


def _replaced(
    stmt: For, instruction: Instruction, body: Function, ranges: Ranges, where: str
) -> Stmt:
    (pattern,) = body.body
    assert isinstance(pattern, For)
    (wanted,) = pattern.body
    assert isinstance(wanted, Store)
    store = stmt.body[0]
    if len(stmt.body) != 1 or not isinstance(store, Store):
        raise _refusal(instruction, where, "one store", contents(stmt))
    if stmt.step != 1 or stmt.start != Imm(0) or extent(stmt) != extent(pattern):
        rounds = f"{extent(pattern)} rounds from 0"
        hint = f"split the loop by {extent(pattern)} first"
        raise _refusal(instruction, where, rounds, f"{extent(stmt)}", hint)
    matcher = Matcher(pattern.var.name, stmt.var.name, where)
    same = matcher.element(wanted.buffer, wanted.indices, store.buffer, store.indices)
    if not (same and store.lanes == 1 and matcher.expr(wanted.value, store.value)):
        expected = f"{print_expr(wanted.value)}"
        raise _refusal(instruction, where, expected, print_expr(store.value)[:120])
    result = matcher.places[wanted.buffer.name]
    operands = [matcher.places[operand] for operand in instruction.operands]
    if (
        not stmt.parallel
        and wanted.buffer.name == "d"
        and result.buffer in [operand.buffer for operand in operands]
    ):
        raise _refusal(instruction, where, "a parallel loop", "a result that is an operand, too")
    call = Call(instruction.name, tuple(word(o, ranges, where) for o in operands), DType.INT32)
    check_inside(result, ranges, where)
    whole = Store(result.flat, result.index, call, result.lanes)
    return simplify_body((whole,))[0]


def _refusal(
    instruction: Instruction, where: str, expected: str, found: str, hint: str = ""
) -> ScheduleError:
    return ScheduleError(
        f"the loop is not what {instruction.name} does",
        where=where,
        expected=expected,
        found=found,
        hint=hint,
    )


def word(place: Place, ranges: Ranges, where: str) -> Expr:
    """The elements of an operand: one packed word, or one int32."""
    check_inside(place, ranges, where)
    return Load(place.flat, place.index, place.lanes)


def check_inside(place: Place, ranges: Ranges, where: str) -> None:
    """The word reads all its elements, those too that the loop did not."""
    if place.buffer.scope == "register":
        return
    if not stays_inside(place.start, ranges, place.lanes, place.buffer.elements):
        raise ScheduleError(
            "a word reaches beyond the buffer",
            where=where,
            expected=f"{place.lanes} elements of {place.buffer.name}",
            found=f"those from {print_expr(from_linear(place.start))} on",
        )
