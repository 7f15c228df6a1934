"""vectorize: neighbours are computed together, packed in one word (Halide's ``vectorize``).

The loop must be parallel, and each store run through memory element by element. Loads and stores
become words of two or four elements; what happens to them must be a copy, a bit operation, or what
some instruction of ``utvm.ir.isa`` does to each lane. Lengths that are no multiple: split first, so
that the rest is a loop of its own.

    for x in 0..64 parallel: b[x] = int8(min(max(int32(a[x]) + int32(c[x]), -128), 127))
    ---
    for x in 0..64 step 4 parallel: b[x] lanes 4 = qadd8(a[x] lanes 4, c[x] lanes 4)
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from utvm.ir.dtype import DType
from utvm.ir.isa.table import INSTRUCTIONS
from utvm.ir.loop import Binary, Call, Expr, For, Function, Imm, Load, Stmt, Store
from utvm.ir.parse_loop import parse_function
from utvm.ir.print_loop import print_expr
from utvm.ir.rewrite import Linear, expressions, free_vars, from_linear, simplify_body
from utvm.schedule.match import capture
from utvm.schedule.primitives import contents, extent, rewrite_loops
from utvm.schedule.region import offset_of
from utvm.schedule.steps import primitive
from utvm.support.errors import ScheduleError

WORD_BITS = 32


@primitive
def vectorize(function: Function, name: str) -> Function:
    """Computes the iterations of loop ``name`` a word at a time."""
    where = f"{function.name}: loop {name}"

    def change(stmt: For) -> tuple[Stmt, ...]:
        if not stmt.parallel or stmt.step != 1:
            raise ScheduleError(
                "only a parallel loop in steps of 1 runs in words",
                where=where,
                found=f"{'parallel' if stmt.parallel else 'in order'}, steps of {stmt.step}",
            )
        stores = [s for s in stmt.body if isinstance(s, Store)]
        if len(stores) != len(stmt.body):
            raise ScheduleError(
                "only stores are computed in words",
                where=where,
                expected="stores alone",
                found=contents(stmt),
                hint="vectorize the innermost loop",
            )
        lanes = {WORD_BITS // store.buffer.dtype.bits for store in stores}
        (count,) = lanes if len(lanes) == 1 else (0,)
        if count < 2 or any(store.buffer.dtype.is_float for store in stores):
            types = ", ".join(sorted({store.buffer.dtype.value for store in stores}))
            raise ScheduleError(
                "a word holds integers of 8 or 16 bits, all of one size", where=where, found=types
            )
        if extent(stmt) % count:
            raise ScheduleError(
                "the loop is no whole number of words",
                where=where,
                expected=f"a multiple of {count}",
                found=str(extent(stmt)),
                hint=f"split it by a multiple of {count} first; the rest is a loop of its own",
            )
        packer = _Packer(name, count, where)
        body = tuple(packer.store(store) for store in stores)
        return (replace(stmt, body=body, step=count),)

    changed = rewrite_loops(function, name, change)
    return replace(changed, body=simplify_body(changed.body))


class _Packer:
    """Expressions of one lane as expressions of words."""

    def __init__(self, var: str, lanes: int, where: str) -> None:
        self.var, self.lanes, self.where = var, lanes, where

    def store(self, store: Store) -> Stmt:
        at = self._start(offset_of(store.buffer, store.indices))
        if at is None or store.lanes != 1 or store.buffer.scope == "register":
            raise self._refusal(f"the store to {store.buffer.name} does not run through memory")
        flat = store.buffer.view(store.buffer.elements)
        return Store(flat, (from_linear(at),), self.word(store.value), self.lanes)

    def word(self, value: Expr) -> Expr:
        """The word whose lanes are the values of as many iterations."""
        if WORD_BITS // value.dtype.bits == self.lanes and value.dtype.is_integer:
            if (word := self._plain(value)) is not None:
                return word
            for name, (result, operands, pattern) in lane_wise().items():
                found = capture(pattern, value) if result is value.dtype else {}
                if found:
                    words = tuple(self.word(found[operand]) for operand in operands)
                    return Call(name, words, DType.INT32)
        raise self._refusal(print_expr(value)[:120])

    def _plain(self, value: Expr) -> Expr | None:
        """Literals, loads of neighbours, and operations on bits."""
        match value:
            case Imm(value=number):
                mask = (1 << WORD_BITS // self.lanes) - 1
                bits = WORD_BITS // self.lanes
                word = sum((int(number) & mask) << bits * lane for lane in range(self.lanes))
                return Imm((word + (1 << 31)) % (1 << 32) - (1 << 31))
            case Load(buffer, indices, 1) if buffer.scope != "register":
                start = self._start(offset_of(buffer, indices))
                if start is not None:
                    return Load(buffer.view(buffer.elements), (from_linear(start),), self.lanes)
            case Binary("&" | "|" | "^" as op, a, b):
                return Binary(op, self.word(a), self.word(b))
        return None

    def _start(self, form: Linear | None) -> Linear | None:
        """The offset of the first lane, if the lanes are neighbours."""
        return form if form is not None and form.coefficient(self.var) == 1 else None

    def _refusal(self, found: str) -> ScheduleError:
        names = ", ".join(lane_wise())
        return ScheduleError(
            "no instruction does this to each lane",
            where=self.where,
            expected=f"neighbours in memory, bit operations, {names}",
            found=found,
        )


@cache
def lane_wise() -> dict[str, tuple[DType, tuple[str, ...], Expr]]:
    """The instructions that do the same to each lane: result type, operands, one lane."""
    found: dict[str, tuple[DType, tuple[str, ...], Expr]] = {}
    for name, instruction in INSTRUCTIONS.items():
        if not instruction.body:
            continue
        body = parse_function(instruction.body)
        (nest,) = body.body
        assert isinstance(nest, For)
        (store,) = nest.body
        assert isinstance(store, Store)
        lane = nest.var
        same = all(
            load.indices == (lane,) for load in expressions((store,)) if isinstance(load, Load)
        )
        if store.indices == (lane,) and same and lane.name in free_vars(store.value):
            found[name] = (store.buffer.dtype, instruction.operands, store.value)
    return found
