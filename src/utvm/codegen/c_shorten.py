"""Long expressions cut into named parts, so that every statement fits on one line.

In: an expression and the room its C text has. Out: ``Let``s for parts of it, and what remains:

    out[i] = clamp(shift(mulhi(table[low - in[i]], factor), bits) - 128, -128, 127)
    ---
    t0 = shift(mulhi(table[low - in[i]], factor), bits) - 128;  out[i] = clamp(t0, -128, 127)

Expressions are pure, so a part may be computed earlier, unless it is evaluated only sometimes.
"""

from __future__ import annotations

from utvm.codegen.c_expr import ExprPrinter
from utvm.codegen.c_names import FreshNames
from utvm.ir.loop import Expr, Imm, Let, Var
from utvm.ir.rewrite import map_certain


def shorten(
    printer: ExprPrinter, names: FreshNames, expr: Expr, room: int, line: int
) -> tuple[list[Let], Expr]:
    """Parts of ``expr`` as ``Let``s until its text fits in ``room`` columns.

    ``line`` is the room of a ``Let``'s own text. What cannot be cut stays too long.
    """
    lets: list[Let] = []
    while len(printer.text(expr)) > room:
        part = _longest_part(printer, expr, line)
        if part is None:
            break
        var = Var(names.next(), part.dtype)
        lets.append(Let(var, part))
        expr = _replaced(expr, part, var)
    return lets, expr


def _longest_part(printer: ExprPrinter, whole: Expr, line: int) -> Expr | None:
    """The proper part with the longest text that fits; the first of several."""
    best: Expr | None = None
    longest = 4  # a name is no shorter

    def visit(expr: Expr) -> Expr:
        nonlocal best, longest
        if expr != whole and not isinstance(expr, Imm | Var):
            length = len(printer.text(expr))
            if longest < length <= line:
                best, longest = expr, length
        return expr

    map_certain(whole, visit)
    return best


def _replaced(whole: Expr, part: Expr, var: Var) -> Expr:
    return map_certain(whole, lambda expr: var if expr == part else expr)
