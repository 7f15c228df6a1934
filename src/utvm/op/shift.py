"""``shift_right`` and ``shift_right_rounding``: integers divided by a power of two.

``shift_right`` rounds down (add half of the divisor before it to round half up, as CMSIS-NN's q7
kernels do); ``shift_right_rounding`` rounds halves away from zero. The second operand is the number
of bits.
"""

from __future__ import annotations

import numpy as np

from utvm.ir.dtype import DType
from utvm.ir.graph import TensorType
from utvm.ir.loop import Call, Expr
from utvm.op.base import (
    Arrays,
    Constants,
    NoAttrs,
    Op,
    Types,
    constant_operand,
    expect,
    expect_range,
)
from utvm.op.definition import Element
from utvm.op.elementwise import binary_op, infer_binary
from utvm.op.fixed_point import rounding_divide_by_pot
from utvm.op.ranges import Interval, Operands, at_corners


def _check(inputs: Types, data: Constants, attrs: NoAttrs) -> None:
    dtype = inputs[0].dtype
    expect(dtype.is_integer, "only integers are shifted", found=inputs[0])
    bits = constant_operand(data[1], "counts of bits")
    for extreme in (bits.min(), bits.max()):
        expect_range("the count of bits", extreme, 0, dtype.bits - 1)


def _check_rounding(inputs: Types, data: Constants, attrs: NoAttrs) -> None:
    expect(inputs[0].dtype is DType.INT32, "wrong element type", "int32", inputs[0])
    _check(inputs, data, attrs)


def _reference(inputs: Arrays, attrs: NoAttrs) -> tuple[np.ndarray, ...]:
    return (rounding_divide_by_pot(inputs[0], inputs[1]).astype(inputs[0].dtype),)


def _compute(element: Element) -> Expr:
    value = element.arg(0)
    return Call("shift_right_rounding", (value, element.arg(1)), value.dtype)


def _ranges(operands: Operands, result: TensorType, attrs: NoAttrs) -> Interval:
    return at_corners(operands, rounding_divide_by_pot)


SHIFT_RIGHT = binary_op("shift_right", ">>", np.right_shift, NoAttrs, check=_check)
SHIFT_RIGHT_ROUNDING = Op(
    "shift_right_rounding",
    NoAttrs,
    infer_binary,
    _check_rounding,
    reference=_reference,
    compute=_compute,
    elementwise=True,
    ranges=_ranges,
)
