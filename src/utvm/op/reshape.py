"""``reshape``: the same elements in another shape.

It costs nothing at run time: lowering makes its result an alias of its operand, and the memory
planner gives both one place.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from utvm.ir.graph import Attrs, TensorType
from utvm.op.base import Arrays, Op, Types, expect, expect_inputs
from utvm.op.channels import reshaped_channels
from utvm.op.ranges import Interval, Operands, reshaped


@dataclass(frozen=True)
class ReshapeAttrs(Attrs):
    """``shape``: the new shape, without wildcards."""

    shape: tuple[int, ...]


def _infer(inputs: Types, attrs: ReshapeAttrs) -> tuple[TensorType, ...]:
    expect_inputs(inputs, 1)
    result = TensorType(tuple(attrs.shape), inputs[0].dtype)
    expect(result.elements == inputs[0].elements, "reshape changes the number of elements",
           str(inputs[0].elements), result.elements)  # fmt: skip
    return (result,)


def _reference(inputs: Arrays, attrs: ReshapeAttrs) -> tuple[np.ndarray, ...]:
    return (inputs[0].reshape(attrs.shape),)


def _ranges(operands: Operands, result: TensorType, attrs: ReshapeAttrs) -> Interval:
    return reshaped(operands[0].interval, operands[0].type.shape, result.shape)


OP = Op(
    "reshape",
    ReshapeAttrs,
    _infer,
    reference=_reference,
    ranges=_ranges,
    channels=reshaped_channels,
)
