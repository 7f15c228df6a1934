"""TFLite operators that move elements: reshaping, padding, slicing, joining, transposing.

Each function is one row of the table in ``tflite_ops``: it reads one operator through its context
and emits nodes. SPLIT, UNPACK and their like become several slices, PACK becomes reshapes and one
concatenation; masks and negative numbers are resolved here, so that attributes are plain numbers.
"""

from __future__ import annotations

import numpy as np

from utvm.importers.tflite_context import OpContext
from utvm.op.reshape import ReshapeAttrs

Shape = tuple[int, ...]


def reshape(ctx: OpContext) -> None:
    """RESHAPE, SQUEEZE and EXPAND_DIMS: the declared result says the shape."""
    ctx.emit("reshape", ctx.names(0), ReshapeAttrs(ctx.output().shape))


def shape(ctx: OpContext) -> None:
    """Shapes are static, so SHAPE is a constant."""
    ctx.constant_result(np.array(ctx.shape(0)))
