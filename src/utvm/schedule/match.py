"""Is an expression what an instruction computes? The comparison behind tensorize and vectorize.

In: an expression over the operands of an instruction, and one of a kernel. Out: whether they are
equal but for buffers and places, and then which memory each operand is. Operands of commutative
operators may stand in either order.
"""

from __future__ import annotations

from dataclasses import dataclass

from utvm.ir.loop import Binary, Buffer, Call, Cast, Expr, Imm, Load, Select, Var
from utvm.ir.rewrite import Linear, from_linear, linear
from utvm.schedule.region import offset_of

_COMMUTATIVE = ("+", "*", "min", "max", "&", "|", "^")


@dataclass(frozen=True)
class Place:
    """Where an operand begins: a flat offset of a buffer, and how many elements it has."""

    buffer: Buffer
    start: Linear
    lanes: int

    @property
    def flat(self) -> Buffer:
        if self.buffer.scope == "register":
            return self.buffer
        return self.buffer.view(self.buffer.elements)

    @property
    def index(self) -> tuple[Expr, ...]:
        return () if self.buffer.scope == "register" else (from_linear(self.start),)


class Matcher:
    """Compares with the loop variables ``wanted_var`` and ``var``; ``places`` is what it learns."""

    def __init__(self, wanted_var: str, var: str, where: str) -> None:
        self.wanted_var, self.var, self.where = wanted_var, var, where
        self.places: dict[str, Place] = {}

    def expr(self, wanted: Expr, found: Expr) -> bool:
        match wanted, found:
            case Load(buffer, indices), Load(there, at, 1):
                return self.element(buffer, indices, there, at)
            case Imm(), Imm():
                return wanted == found
            case Cast(dtype, value), Cast(other, inner):
                return dtype is other and self.expr(value, inner)
            case Binary(op, a, b), Binary(other_op, x, y) if op == other_op:
                orders = [(x, y), (y, x)] if op in _COMMUTATIVE else [(x, y)]
                return any(self._both((a, b), order) for order in orders)
            case Select(), Select():
                parts = (wanted.condition, wanted.a, wanted.b)
                return self._both(parts, (found.condition, found.a, found.b))
            case Call(name, args), Call(other_name, others):
                return name == other_name and self._both(args, others)
            case Var(name), Var(other_name):
                return (name, other_name) == (self.wanted_var, self.var)
        return False

    def _both(self, wanted: tuple[Expr, ...], found: tuple[Expr, ...]) -> bool:
        """All pairs, or nothing learnt."""
        before = dict(self.places)
        if all(self.expr(a, b) for a, b in zip(wanted, found, strict=True)):
            return True
        self.places = before
        return False

    def element(
        self,
        wanted: Buffer,
        wanted_indices: tuple[Expr, ...],
        found: Buffer,
        indices: tuple[Expr, ...],
    ) -> bool:
        """Whether an element of an operand may be this one of a buffer, and stays the operand's."""
        if wanted.dtype is not found.dtype:
            return False
        (index,) = wanted_indices
        pattern, form = linear(index), offset_of(found, indices)
        if pattern is None or form is None:
            return False
        if form.coefficient(self.var) != pattern.coefficient(self.wanted_var):
            return False
        terms = tuple(term for term in form.terms if term[0] != self.var)
        start = Linear(form.constant - pattern.constant, terms)
        place = Place(found, start, wanted.elements)
        known = self.places.setdefault(wanted.name, place)
        return (known.buffer.name, known.start) == (found.name, start)


def capture(wanted: Expr, found: Expr) -> dict[str, Expr]:
    """The expressions that stand for the operands of ``wanted``; empty where the two differ."""
    known: dict[str, Expr] = {}
    return known if _captures(wanted, found, known) else {}


def _captures(wanted: Expr, found: Expr, known: dict[str, Expr]) -> bool:
    match wanted, found:
        case Load(buffer), _ if buffer.dtype is found.dtype:
            return known.setdefault(buffer.name, found) == found
        case Imm(), Imm():
            return wanted == found
        case Cast(dtype, value), Cast(other, inner):
            return dtype is other and _captures(value, inner, known)
        case Binary(op, a, b), Binary(other_op, x, y) if op == other_op:
            for left, right in [(x, y), (y, x)] if op in _COMMUTATIVE else [(x, y)]:
                trial = dict(known)
                if _captures(a, left, trial) and _captures(b, right, trial):
                    known.update(trial)
                    return True
    return False
