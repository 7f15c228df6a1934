"""``copy``: the same values in memory of their own.

Any element type and shape. ``copy_outputs`` inserts it where a graph output would be an alias of
an input or a constant.
"""

from __future__ import annotations

import numpy as np

from utvm.ir.loop import Expr
from utvm.op.base import Arrays, NoAttrs, Op
from utvm.op.definition import Element
from utvm.op.elementwise import infer_unary
from utvm.op.ranges import same_range


def _reference(inputs: Arrays, attrs: NoAttrs) -> tuple[np.ndarray, ...]:
    return (inputs[0].copy(),)


def _compute(element: Element) -> Expr:
    return element.arg(0)


OP = Op(
    "copy",
    NoAttrs,
    infer_unary,
    reference=_reference,
    compute=_compute,
    elementwise=True,
    ranges=same_range,
)
