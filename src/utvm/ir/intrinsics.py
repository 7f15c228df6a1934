"""The scalar intrinsics of the loop IR: what each ``Call`` means.

An intrinsic is data: its name, its operand and result types and its meaning in words. What is an
instruction of some core stands in ``utvm.ir.isa`` with all that belongs to it; of the others
``utvm.codegen`` holds the C text. The tests run each on random and extreme operands.
"""

from __future__ import annotations

from dataclasses import dataclass

from utvm.ir.dtype import DType
from utvm.ir.isa.table import FLOAT_INSTRUCTIONS, INSTRUCTIONS

I32, I64, F32 = DType.INT32, DType.INT64, DType.FLOAT32


@dataclass(frozen=True)
class Intrinsic:
    """A pure scalar function. ``meaning`` is for people; ``tests/codegen`` checks the C against
    NumPy.
    """

    name: str
    args: tuple[DType, ...]
    result: DType
    meaning: str


INTRINSICS = {
    intrinsic.name: intrinsic
    for intrinsic in (
        Intrinsic(
            "requantize",
            (I32, I32, I32),
            I32,
            "x * multiplier * 2^(shift-31), rounded twice as gemmlowp does: the left shift "
            "(wrapping), the rounding doubling high multiply, the rounding right shift (half away "
            "from zero)",
        ),
        Intrinsic(
            "requantize_right",
            (I32, I32, I32),
            I32,
            "requantize(x, multiplier, -shift) for 1 <= shift <= 31",
        ),
        Intrinsic(
            "requantize_wide",
            (I64, I32, I32),
            I32,
            "the same for a 48-bit accumulator of int16 kernels: the multiplier is rounded to 15 "
            "bits and there is one rounding, half up",
        ),
        Intrinsic(
            "requantize_double",
            (I64, I32, I32),
            I32,
            "x times the double with these two words, rounded once, halves away from zero, "
            "saturated",
        ),
        Intrinsic("mulhi", (I32, I32), I32, "ab / 2^32, rounded down"),
        Intrinsic(
            "mulhi_long",
            (I32, I32, I32),
            I32,
            "x * (high + low / 2^32) / 2^32, either product rounded down; 0 <= high",
        ),
        Intrinsic("mulhi_rounding", (I32, I32), I32, "saturating (2ab + 2^31) / 2^32"),
        Intrinsic(
            "shift_right_rounding", (I32, I32), I32, "x / 2^n, halves away from zero, 0 <= n <= 31"
        ),
        Intrinsic("shift_left_saturating", (I32, I32), I32, "x * 2^n, saturated, 0 <= n <= 31"),
        Intrinsic("shift_left_wrapping", (I32, I32), I32, "x * 2^n modulo 2^32, 0 <= n <= 31"),
        Intrinsic("clz", (I32,), I32, "leading zero bits of x as unsigned; 32 for 0"),
        Intrinsic(
            "one_over_one_plus",
            (I32,),
            I32,
            "1 / (1 + x) in Q0.31 for 0 <= x < 1, by gemmlowp's three Newton steps",
        ),
        Intrinsic("divide", (I32, I32), I32, "a / b towards zero, wrapping; 0 where b is 0"),
        Intrinsic(
            "divide_scaled",
            (I32, I32, I32, I32),
            I32,
            "a / b * multiplier * 2^(shift-31) for |a|, |b| < 2^16 by a fixed-point reciprocal, as "
            "TFLite's DIV; 0 where b is 0",
        ),
        Intrinsic(
            "dynamic_zero_point",
            (F32, F32),
            I32,
            "the int8 step that stands for 0 when a to b are spread over all steps: -128 - a / s "
            "or 127 - b / s, whichever has the smaller terms, in double with s = (b - a) / 255, of "
            "which only b - a is a float, rounded with halves away from zero; 0 where b - a is 0",
        ),
        Intrinsic("exp", (F32,), F32, "e^x"),
        Intrinsic("log", (F32,), F32, "the natural logarithm"),
        Intrinsic("tanh", (F32,), F32, "the hyperbolic tangent"),
        Intrinsic("logistic", (F32,), F32, "1 / (1 + e^-x)"),
        Intrinsic("sqrt", (F32,), F32, "the square root"),
        Intrinsic("floor", (F32,), F32, "the largest integer not above x"),
        Intrinsic("round", (F32,), F32, "the nearest integer, halves away from zero"),
        Intrinsic("round_even", (F32,), F32, "the nearest integer, halves to even"),
        Intrinsic("abs", (F32,), F32, "the absolute value"),
        *(
            Intrinsic(one.name, (I32,) * len(one.operands), I32, one.about)
            for one in INSTRUCTIONS.values()
        ),
        *(
            Intrinsic(one.name, (F32,) * len(one.operands), F32, one.about)
            for one in FLOAT_INSTRUCTIONS.values()
        ),
    )
}
