"""Which operations of ``Costs`` an expression of the loop IR becomes in a C compiler's hands.

In: one node of an expression. Out: the operations that it adds to those of its operands, and the
operands. Products join the sum that takes them, shifts by constants ride along with a sum,
conversions of what has just been loaded are free. Intrinsics are counted as what their C is.
"""

from __future__ import annotations

from collections.abc import Mapping

from utvm.ir.dtype import DType
from utvm.ir.loop import COMPARISONS, Binary, Call, Cast, Expr, Imm, Load, Select

Operations = tuple[tuple[str, float], ...]
_ROUNDED: dict[str, float] = {"multiply_long": 1, "wide": 1, "alu": 3}
ONE_INSTRUCTION: Mapping[str, float] = {"packed": 1}
"""What an intrinsic is that the table below leaves out."""
INTRINSICS: Mapping[str, Mapping[str, float]] = {
    "requantize": {**_ROUNDED, "alu": 10, "select": 3},
    "requantize_right": {**_ROUNDED, "alu": 6},
    "requantize_wide": {"multiply_long": 2, "wide": 2, "wide_shift": 1, "alu": 4},
    "requantize_double": {"multiply_long": 2, "wide": 5, "wide_shift": 2, "alu": 14, "select": 4},
    "mulhi": {"multiply_high": 1},
    "mulhi_long": {"multiply_high": 1, "multiply_long": 1, "alu": 1},
    "mulhi_rounding": {**_ROUNDED, "select": 1},
    "shift_right_rounding": {"alu": 6, "select": 1},
    "shift_left_saturating": {"multiply_long": 1, "wide": 2, "select": 2},
    "shift_left_wrapping": {"alu": 1},
    "clz": {"alu": 1},
    "one_over_one_plus": {"multiply_long": 7, "wide": 14, "alu": 40, "select": 14},
    "divide": {"divide": 1, "branch": 2},
    "divide_scaled": {"multiply_long": 9, "wide": 18, "alu": 60, "select": 18, "branch": 2},
    "dynamic_zero_point": {"double": 10, "branch": 5, "alu": 6},
    "abs": {"float_add": 1},
    "sqrt": {"float_divide": 1},
    "floor": {"float_convert": 2, "float_compare": 1},
    "round": {"float_convert": 2, "float_compare": 2, "float_add": 2},
    "round_even": {"float_convert": 2, "float_compare": 2, "float_add": 2},
    "exp": {"float_call": 1},
    "log": {"float_call": 1},
    "tanh": {"float_call": 1.6},
    "logistic": {"float_call": 1, "float_add": 1, "float_divide": 1},
}


def operations_of(expr: Expr) -> tuple[Operations, tuple[Expr, ...]]:
    """What ``expr`` costs beyond its operands, and the operands whose values it needs.

    Loads are not asked here: what they cost depends on their addresses.
    """
    match expr:
        case Cast():
            return _cast(expr), (expr.value,)
        case Select(condition, a, b):
            return (("float_compare" if _floats(condition) else "select", 1),), (condition, a, b)
        case Call(name, args):
            return tuple(INTRINSICS.get(name, ONE_INSTRUCTION).items()), args
        case Binary("min", Binary("max", value, Imm()), Imm()) if _narrow(expr):
            return _clamp(expr), (value,)
        case Binary("min" | "max", a, b):
            kind = "float_compare" if a.dtype.is_float else "extreme" if _narrow(expr) else "wide"
            return ((kind, 1 if _narrow(expr) else 2),), (a, b)
        case Binary(op, a, b) if op in COMPARISONS:
            return _comparison(expr), (a, b)
        case Binary(_, a, b) if expr.dtype.is_float:
            return _float(expr)
        case Binary() if expr.dtype.bits > 32:
            return _wide(expr)
        case Binary():
            return _integer(expr)
    return (), ()


def _clamp(expr: Expr) -> Operations:
    """One saturation where the bounds are those of a number of bits."""
    if expr.dtype.is_float:
        return (("float_compare", 2),)
    match expr:
        case Binary("min", Binary("max", _, Imm(value=low)), Imm(value=high)):
            if low in (0, -high - 1) and _is_power(Imm(int(high) + 1)):
                return (("clamp", 1),)
    return (("extreme", 2),)


def _narrow(expr: Expr) -> bool:
    return expr.dtype.is_float or expr.dtype.bits <= 32


def _floats(condition: Expr) -> bool:
    return isinstance(condition, Binary) and condition.a.dtype.is_float


def _cast(expr: Cast) -> Operations:
    source, target = expr.value.dtype, expr.type
    if source.is_float != target.is_float:
        return (("float_convert", 1),)
    if source.is_float:
        return ()
    if target.bits > 32 >= source.bits:
        return (("alu", 1),)
    if target.bits >= source.bits or target.bits == 32 or isinstance(expr.value, Load):
        return ()
    return (("alu", 1),)


def _comparison(expr: Binary) -> Operations:
    """A condition that stands alone; that of a choice is part of the choice."""
    if expr.op in ("and", "or"):
        return (("branch", 1),)
    if expr.a.dtype.is_float:
        return ()
    return (("wide", 1),) if expr.a.dtype.bits > 32 else ()


def _float(expr: Binary) -> tuple[Operations, tuple[Expr, ...]]:
    if expr.op == "/":
        return (("float_divide", 1),), (expr.a, expr.b)
    product = _product(expr)
    if product is not None:
        other, factors = product
        return (("float_multiply_add", 1),), (other, *factors)
    return (("float_add", 1),), (expr.a, expr.b)


def _wide(expr: Binary) -> tuple[Operations, tuple[Expr, ...]]:
    operands = (expr.a, expr.b)
    if expr.op == "*":
        return (("multiply_long", 1),), tuple(_widened(operand) for operand in operands)
    if expr.op in ("<<", ">>"):
        return (("wide_shift", 1),), operands
    if expr.op in ("/", "%"):
        return (("double", 1),), operands
    product = _product(expr)
    if product is not None:
        other, factors = product
        return (("multiply_long", 1),), (other, *map(_widened, factors))
    return (("wide", 1),), operands


def _widened(expr: Expr) -> Expr:
    """A factor of a 64-bit product: what has been widened for it need not be."""
    return expr.value if isinstance(expr, Cast) and expr.value.dtype.bits <= 32 else expr


def _integer(expr: Binary) -> tuple[Operations, tuple[Expr, ...]]:
    operands = (expr.a, expr.b)
    if expr.op == "*":
        return ((("alu" if _is_power(expr.b) else "multiply"), 1),), operands
    if expr.op in ("/", "%"):
        constant = isinstance(expr.b, Imm)
        return ((("multiply_high" if constant else "divide"), 1), ("alu", 2)), operands
    product = _product(expr)
    if product is not None:
        other, factors = product
        return (("multiply_add", 1),), (other, *factors)
    if expr.op in ("+", "-", "&", "|", "^"):
        for side, other in ((expr.b, expr.a), (expr.a, expr.b)):
            if _is_shift(side):
                assert isinstance(side, Binary)
                return (("shifted", 1),), (other, side.a)
    return (("alu", 1),), operands


def _product(expr: Binary) -> tuple[Expr, tuple[Expr, ...]] | None:
    """The other operand and the factors of a sum with a product in it."""
    sides = ((expr.b, expr.a), (expr.a, expr.b)) if expr.op == "+" else ((expr.b, expr.a),)
    if expr.op not in ("+", "-"):
        return None
    for side, other in sides:
        side = side.value if isinstance(side, Cast) and not side.value.dtype.is_float else side
        if isinstance(side, Binary) and side.op == "*" and not _is_power(side.b):
            return other, (side.a, side.b)
    return None


def _is_power(expr: Expr) -> bool:
    """Whether a product with this literal is a shift."""
    if not isinstance(expr, Imm) or expr.dtype.is_float:
        return False
    return expr.value > 0 and int(expr.value) & (int(expr.value) - 1) == 0


def _is_shift(expr: Expr) -> bool:
    if not isinstance(expr, Binary) or not isinstance(expr.b, Imm):
        return False
    return expr.op in ("<<", ">>") or (expr.op == "*" and _is_power(expr.b))


def load_operation(load: Load) -> str:
    """What a load from memory is."""
    dtype = load.buffer.dtype
    if load.lanes > 1 or dtype.bits >= 32:
        return "load"
    signed = dtype.is_signed and dtype is not DType.BOOL
    return "load_signed" if signed else "load_unsigned"
