"""``shift_right`` and ``shift_right_rounding``: integers divided by a power of two.

``shift_right`` rounds down (add half of the divisor before it to round half up, as CMSIS-NN's q7
kernels do); ``shift_right_rounding`` rounds halves away from zero. The second operand is the number
of bits.
"""

from __future__ import annotations

import numpy as np

from utvm.ir.loop import Call, Expr
from utvm.op.base import Arrays, NoAttrs, Op
from utvm.op.definition import Element
from utvm.op.elementwise import binary_op, infer_binary
from utvm.op.fixed_point import rounding_divide_by_pot


def _reference(inputs: Arrays, attrs: NoAttrs) -> tuple[np.ndarray, ...]:
    return (rounding_divide_by_pot(inputs[0], inputs[1]).astype(inputs[0].dtype),)


def _compute(element: Element) -> Expr:
    value = element.arg(0)
    return Call("shift_right_rounding", (value, element.arg(1)), value.dtype)


SHIFT_RIGHT = binary_op("shift_right", ">>", np.right_shift, NoAttrs)
SHIFT_RIGHT_ROUNDING = Op(
    "shift_right_rounding",
    NoAttrs,
    infer_binary,
    reference=_reference,
    compute=_compute,
    elementwise=True,
)
