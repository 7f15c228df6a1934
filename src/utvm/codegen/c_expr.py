"""Loop IR expressions as C99 text.

In: an expression. Out: C that computes exactly it and compiles without conversion warnings: what
C's integer promotion does silently (int8 to int32) stays silent, every narrowing is a cast.
Operands are parenthesized by precedence. Buffer elements are addressed by flat row-major offsets.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from utvm.ir.dtype import DType
from utvm.ir.isa.table import FLOAT_INSTRUCTIONS
from utvm.ir.loop import COMPARISONS, Binary, Buffer, Call, Cast, Expr, Imm, Load, Select, Var
from utvm.ir.packed import MEANINGS
from utvm.ir.rewrite import from_linear, linear, simplify

ATOM, UNARY, ADD = 20, 15, 12
_PRECEDENCE = {
    "*": 13, "/": 13, "%": 13, "+": ADD, "-": ADD, "<<": 11, ">>": 11,
    "<": 10, "<=": 10, ">": 10, ">=": 10, "==": 9, "!=": 9, "&": 8, "^": 7, "|": 6,
    "and": 5, "or": 4,
}  # fmt: skip
_LEAST_OPERAND = {
    **dict.fromkeys(("<<", ">>", "&", "|", "^"), UNARY),
    **dict.fromkeys(("<", "<=", ">", ">=", "==", "!="), ADD),
    "and": 9, "or": 9,
}  # fmt: skip
"""What binds less than this gets parentheses as an operand, though C may not ask for them: readers
and -Wparentheses do. An operator not listed takes operands of its own precedence on the left."""
_C_OPERATORS = {"and": "&&", "or": "||"}
FLOAT_CALLS = {
    "exp": "utvm_expf",
    "log": "utvm_logf",
    "tanh": "utvm_tanhf",
    "logistic": "utvm_logisticf",
    "sqrt": "utvm_sqrtf",
    "floor": "utvm_floorf",
    "round": "utvm_roundf",
    "round_even": "utvm_rintf",
}
"""Intrinsics in ``utvm/math.h``; all others are ``utvm_<name>`` of ``utvm/fixed_point.h``."""

PACKED_CALLS = frozenset(
    f"utvm_{name}" for name in (*MEANINGS, *FLOAT_INSTRUCTIONS, "load_word", "store_word")
)
"""What ``utvm/simd.h`` declares."""

NameOf = Callable[[Buffer], str]


LONG_PRODUCTS = frozenset(
    f"utvm_{name}"
    for name in ("mulhi", "mulhi_long", "mulhi_rounding", "requantize", "requantize_right")
)
"""Functions whose second operand is one factor of a 64-bit product; a literal there is hidden."""


class ExprPrinter:
    """Prints expressions; ``name_of`` gives the C name of a buffer.

    ``calls`` collects the names of the functions that were printed.
    """

    def __init__(self, name_of: NameOf) -> None:
        self._name_of = name_of
        self.calls: set[str] = set()

    def text(self, expr: Expr, outer: int = 0) -> str:
        """The C text, in parentheses if it binds less than ``outer``."""
        text, precedence = self._print(expr)
        return f"({text})" if precedence < outer else text

    def element(self, buffer: Buffer, indices: tuple[Expr, ...]) -> str:
        """``name[offset]``, or the bare name of a register."""
        name = self._name_of(buffer)
        if buffer.scope == "register":
            return name
        return f"{name}[{self.text(flat_offset(buffer, indices))}]"

    def address(self, buffer: Buffer, indices: tuple[Expr, ...]) -> str:
        """A pointer to an element."""
        name, offset = self._name_of(buffer), flat_offset(buffer, indices)
        return name if offset == Imm(0) else f"{name} + {self.text(offset, ADD)}"

    def _print(self, expr: Expr) -> tuple[str, int]:
        match expr:
            case Imm(value, dtype):
                text = literal(value, dtype)
                return text, (UNARY if text.startswith("-") else ATOM)
            case Var(name):
                return name, ATOM
            case Load(buffer, indices, 1):
                return self.element(buffer, indices), ATOM
            case Load(buffer, indices):
                self.calls.add("utvm_load_word")
                return f"utvm_load_word({self.address(buffer, indices)})", ATOM
            case Cast(dtype, value):
                return self._cast(dtype, value)
            case Select(condition, a, b):
                return f"{self.text(condition, 4)} ? {self.text(a, 4)} : {self.text(b, 3)}", 3
            case Call(name, args):
                return self._call(FLOAT_CALLS.get(name, f"utvm_{name}"), args), ATOM
            case Binary():
                return self._binary(expr)
        raise AssertionError(expr)

    def _cast(self, dtype: DType, value: Expr) -> tuple[str, int]:
        source = value.dtype
        if dtype is DType.BOOL and source is not DType.BOOL:
            return self._binary(Binary("!=", value, Imm(0, source)))
        promoted = dtype is DType.INT32 and source.bits < 32
        if promoted and isinstance(value, Load | Var):
            return self._print(value)
        return f"({dtype.c_name}){self.text(value, UNARY)}", UNARY

    def _call(self, name: str, args: tuple[Expr, ...]) -> str:
        self.calls.add(name)
        texts = [self.text(arg) for arg in args]
        if name in LONG_PRODUCTS and isinstance(args[1], Imm):
            texts[1] = f"utvm_opaque({texts[1]})"
        return f"{name}({', '.join(texts)})"

    def _binary(self, expr: Binary) -> tuple[str, int]:
        if expr.op in ("min", "max"):
            return self._narrowed(expr, self._extreme(expr), ATOM)
        precedence = _PRECEDENCE[expr.op]
        operator = _C_OPERATORS.get(expr.op, expr.op)
        left = _LEAST_OPERAND.get(expr.op, precedence)
        right = _LEAST_OPERAND.get(expr.op, precedence + 1)
        chained = isinstance(expr.a, Binary) and expr.a.op == expr.op in (
            "and",
            "or",
            "&",
            "|",
            "^",
        )
        if chained:
            left = precedence
        text = f"{self.text(expr.a, left)} {operator} {self.text(expr.b, right)}"
        return self._narrowed(expr, text, precedence)

    def _extreme(self, expr: Binary) -> str:
        """A minimum or maximum; ``min(max(x, low), high)`` in one call for 32-bit integers."""
        dtype = expr.dtype
        width = "float" if dtype.is_float else dtype.value if dtype.bits >= 32 else "int32"
        match expr:
            case Binary("min", Binary("max", value, Imm() as low), Imm() as high):
                if width == "int32":
                    return self._call("utvm_clamp_int32", (value, low, high))
        return self._call(f"utvm_{expr.op}_{width}", (expr.a, expr.b))

    def _narrowed(self, expr: Binary, text: str, precedence: int) -> tuple[str, int]:
        dtype = expr.dtype
        if expr.op in COMPARISONS or dtype.is_float or dtype.bits >= 32:
            return text, precedence
        inner = text if precedence == ATOM else f"({text})"
        return f"({dtype.c_name}){inner}", UNARY


# Half a unit above the largest float: what a conversion rounds to infinity.
_BEYOND_FLOATS = 2.0**128 - 2.0**103


def literal(value: int | float, dtype: DType) -> str:
    """A C literal of the given type."""
    if dtype.is_float:
        return _float_literal(float(value))
    number = int(value)
    if dtype is DType.INT64:
        return "INT64_MIN" if number == dtype.minimum else f"INT64_C({number})"
    if dtype is DType.UINT32:
        return f"{number}u"
    return "INT32_MIN" if number == DType.INT32.minimum else str(number)


def _float_literal(value: float) -> str:
    if math.isnan(value):
        return "(0.0f / 0.0f)"
    if abs(value) >= _BEYOND_FLOATS:
        return "(1.0f / 0.0f)" if value > 0 else "(-1.0f / 0.0f)"
    text = f"{np.float32(value):.9g}"
    if not any(mark in text for mark in ".e"):
        text += ".0"
    return f"{text}f"


def flat_offset(buffer: Buffer, indices: tuple[Expr, ...]) -> Expr:
    """The row-major element offset of ``indices`` in one expression."""
    assert len(indices) == len(buffer.shape), (buffer, indices)
    offset: Expr = Imm(0)
    for extent, index in zip(buffer.shape, indices, strict=True):
        offset = Binary("+", Binary("*", offset, Imm(extent)), index)
    form = linear(offset)
    return simplify(offset) if form is None else from_linear(form)
