"""``softmax_table``: softmax of 8-bit numbers in fixed point, exactly as TFLite's reference kernel.

Operands: x (int8 or uint8) and ``exp``, 256 numbers in Q0.31: entry d is the exponential of d steps
below the row's maximum. They are summed in Q12.19, and the sum's reciprocal in Q0.31 multiplies
each of them. Made by ``softmax``'s legalization.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from utvm.ir.dtype import DType
from utvm.ir.graph import Attrs, TensorType
from utvm.ir.loop import (
    Binary,
    Call,
    Cast,
    Expr,
    Imm,
    Let,
    Load,
    Select,
    Stmt,
    Var,
    clamp,
    loop,
    minimum,
)
from utvm.op.base import Arrays, Constants, Op, Types, constant_operand, expect, expect_inputs
from utvm.op.definition import Definition, cast, reduction, register
from utvm.op.fixed_point import (
    get_reciprocal,
    int64_of,
    rounding_divide_by_pot,
    saturate,
    saturating_rounding_doubling_high_mul,
    wrap_int32,
)
from utvm.op.quantize_softmax import SUM_INTEGER_BITS
from utvm.op.softmax_rows import Rows

I32 = DType.INT32
# A sum of so many exponentials fits an int32; more need an int64.
MOST_IN_INT32 = (1 << SUM_INTEGER_BITS) - 1
RESULTS = ("int8", "uint8", "int16")


@dataclass(frozen=True)
class SoftmaxTableAttrs(Attrs):
    """``dtype``: the result's type; one is 2^bits steps above its minimum (above 0 for int16)."""

    dtype: str

    @property
    def bits(self) -> int:
        return DType(self.dtype).bits

    @property
    def bounds(self) -> tuple[int, int]:
        return DType(self.dtype).minimum, DType(self.dtype).maximum


def _infer(inputs: Types, attrs: SoftmaxTableAttrs) -> tuple[TensorType, ...]:
    expect_inputs(inputs, 2)
    x, table = inputs
    expect(x.dtype in (DType.INT8, DType.UINT8) and len(x.shape) > 0, "softmax_table takes rows",
           "int8 or uint8 of rank 1 or more", x)  # fmt: skip
    expect(table == TensorType((256,), I32), "wrong table", "int32[256]", table)
    expect(attrs.dtype in RESULTS, "wrong element type of the result", ", ".join(RESULTS),
           attrs.dtype)  # fmt: skip
    return (TensorType(x.shape, DType(attrs.dtype)),)


def _check(inputs: Types, data: Constants, attrs: SoftmaxTableAttrs) -> None:
    table = constant_operand(data[1], "exponentials")
    expect(table[0] == I32.maximum and table.min() >= 0, "the table holds no exponentials",
           f"{I32.maximum}, then numbers that are not negative", table[0])  # fmt: skip


def _reference(inputs: Arrays, attrs: SoftmaxTableAttrs) -> tuple[np.ndarray, ...]:
    value = int64_of(inputs[0])
    exps = inputs[1][value.max(axis=-1, keepdims=True) - value]
    terms = int64_of(rounding_divide_by_pot(exps, SUM_INTEGER_BITS))
    total = wrap_int32(terms.sum(axis=-1, keepdims=True))
    reciprocal, over_unit = get_reciprocal(total, SUM_INTEGER_BITS)
    product = saturating_rounding_doubling_high_mul(exps, reciprocal)
    scaled = rounding_divide_by_pot(product, over_unit + 31 - attrs.bits)
    low, high = attrs.bounds
    return (saturate(int64_of(scaled) + low, low, high).astype(attrs.dtype),)


def _define(d: Definition) -> tuple[Stmt, ...]:
    """Per row: the maximum, the sum of exponentials, its reciprocal, the products."""
    attrs: SoftmaxTableAttrs = d.attrs
    rows = Rows(d)
    r, k, c = Var("r"), Var("k"), Var("c")
    wide = I32 if rows.depth <= MOST_IN_INT32 else DType.INT64
    total = register("total", wide)

    def exponential(at: Var) -> Expr:
        return d.load(1, rows.largest - rows.element(at))

    def add(so_far: Expr) -> Expr:
        # Half is added after most of the shift: before it, the greatest entry would overflow.
        rounded = ((exponential(k) >> (SUM_INTEGER_BITS - 1)) + 1) >> 1
        return so_far + cast(rounded, wide)

    low, high = attrs.bounds
    product = Call("mulhi_rounding", (exponential(c), Var("reciprocal")), I32)
    scaled = Call("shift_right_rounding", (product, Var("shift")), I32)
    result = Cast(DType(attrs.dtype), clamp(scaled + low, low, high))
    body = (
        *rows.find_largest(r),
        *reduction(total, Imm(0, wide), (("k", rows.depth),), add),
        *_reciprocal(cast(Load(total), I32), attrs.bits),
        loop(c, rows.depth, *rows.store(c, result), parallel=True),
    )
    return rows.around(body)


def _reciprocal(total: Expr, bits: int) -> tuple[Stmt, ...]:
    """Names ``reciprocal`` and ``shift``: the result is exponential * reciprocal >> shift.

    The sum is brought to [1, 2) by its leading zeros. The shift is above 31 where the sum is
    so large that every result of 8 bits is nothing.
    """
    zeros, shift = Var("zeros"), Var("right")
    normal = Call("shift_left_wrapping", (Var("sum"), zeros), I32)
    fraction = Binary("&", normal, Imm(0x7FFFFFFF))
    inverse = Call("one_over_one_plus", (fraction,), I32)
    vanishes = Binary(">", shift, Imm(31))
    return (
        Let(Var("sum"), total),
        Let(zeros, Call("clz", (Var("sum"),), I32)),
        Let(shift, Imm(SUM_INTEGER_BITS + 31 - bits) - zeros),
        Let(Var("reciprocal"), Select(vanishes, Imm(0), inverse)),
        Let(Var("shift"), minimum(shift, 31)),
    )


OP = Op(
    "softmax_table",
    SoftmaxTableAttrs,
    _infer,
    _check,
    reference=_reference,
    define=_define,
    operands=("x", "exp"),
)
