"""``clip``: every element limited to [low, high].

The plain form of all activations of the ReLU family. Bounds beyond the element type's own range
cost nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from utvm.ir.graph import Attrs
from utvm.ir.loop import Expr, maximum, minimum
from utvm.op.base import Arrays, Op
from utvm.op.definition import Element
from utvm.op.elementwise import infer_unary


@dataclass(frozen=True)
class ClipAttrs(Attrs):
    """Inclusive bounds; an infinite bound is no bound."""

    low: float = -math.inf
    high: float = math.inf


def _reference(inputs: Arrays, attrs: ClipAttrs) -> tuple[np.ndarray, ...]:
    x = inputs[0]
    if x.dtype.kind == "f":
        return (np.clip(x, np.float32(attrs.low), np.float32(attrs.high)),)
    info = np.iinfo(x.dtype)
    return (np.clip(x, max(attrs.low, info.min), min(attrs.high, info.max)).astype(x.dtype),)


def _compute(element: Element) -> Expr:
    value, attrs = element.arg(0), element.attrs
    dtype = value.dtype
    number = float if dtype.is_float else int
    if not math.isinf(attrs.low) and (dtype.is_float or attrs.low > dtype.minimum):
        value = maximum(value, number(attrs.low))
    if not math.isinf(attrs.high) and (dtype.is_float or attrs.high < dtype.maximum):
        value = minimum(value, number(attrs.high))
    return value


OP = Op("clip", ClipAttrs, infer_unary, reference=_reference, compute=_compute, elementwise=True)
