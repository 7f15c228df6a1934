"""What is known of a kernel before it runs: numbers of rounds, conditions, values of integers.

In: expressions and statements of the loop IR, and the values of the variables that are known. Out:
their values, or None where only running tells. Loops whose rounds do not matter to anything inside
are counted, not walked; ``depends_on`` tells them apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from utvm.codegen.forecast_assembly import fixed_rounds
from utvm.ir.loop import Binary, Cast, Expr, For, If, Imm, Invoke, Let, Select, Stmt, Var
from utvm.ir.rewrite import fold, free_vars, statements

Values = Mapping[str, int]
UNKNOWN = 0.5
"""How often a condition holds of which nothing is known before the run."""
UNKNOWN_ROUNDS = 8
"""What a loop runs of which nothing is known."""


def value_of(expr: Expr, values: Values) -> int | None:
    """The value of an integer expression, if all of it is known."""
    match expr:
        case Imm(value=int(value)):
            return value
        case Var(name):
            return values.get(name)
        case Binary(_, a, b):
            left, right = value_of(a, values), value_of(b, values)
            if left is None or right is None or expr.a.dtype.is_float:
                return None
            folded = fold(Binary(expr.op, Imm(left, a.dtype), Imm(right, b.dtype)))
            return int(folded.value) if isinstance(folded, Imm) else None
        case Cast(value=value) if expr.dtype.is_integer and value.dtype.is_integer:
            return value_of(value, values)
        case Select(condition, a, b):
            known = value_of(condition, values)
            return None if known is None else value_of(a if known else b, values)
    return None


def holds(condition: Expr, values: Values) -> bool | None:
    """Whether a condition holds; ``and`` and ``or`` may be known by one side alone."""
    match condition:
        case Binary("and" | "or" as op, a, b):
            sides = holds(a, values), holds(b, values)
            decides = op == "or"
            if decides in sides:
                return decides
            return None if None in sides else not decides
    known = value_of(condition, values)
    return None if known is None else bool(known)


def rounds_of(stmt: For, values: Values) -> Sequence[int]:
    """The values that a loop's variable takes, in order."""
    start, stop = value_of(stmt.start, values), value_of(stmt.stop, values)
    if start is None or stop is None:
        rounds = fixed_rounds(stmt)
        rounds = UNKNOWN_ROUNDS if rounds is None else rounds
        return range(start or 0, (start or 0) + rounds * stmt.step, stmt.step)
    return range(start, stop, stmt.step)


def governing(body: Sequence[Stmt]) -> set[str]:
    """The variables that decide how often anything in a body runs, or which integers it passes on.

    A name that is made of others stands for them.
    """
    names: set[str] = set()
    for stmt in reversed(list(statements(tuple(body)))):
        match stmt:
            case For(start=start, stop=stop):
                if fixed_rounds(stmt) is None:
                    names |= free_vars(start) | free_vars(stop)
            case If(condition):
                names |= free_vars(condition)
            case Invoke(scalars=scalars):
                names = names.union(*map(free_vars, scalars))
            case Let(var, value) if var.name in names:
                names |= free_vars(value)
    return names


def mispredicted(rounds: int) -> int:
    """How often a two-bit counter is wrong about the jump at the end of a loop, per run of it."""
    return (0, 0, 2)[rounds] if rounds <= 2 else 1
