"""Legalization of hybrid layers: float activations times quantized weights, summed in integers.

In: a convolution or a fully connected layer with float32 input, int8 weights and float32 bias. Out:
``quantize_dynamic``, the plain layer on integers, and the way back to floats in the order of
TFLite's reference kernels, since a later layer quantizes again and would show every bit.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from utvm.ir.dtype import DType
from utvm.ir.graph import Node, Quantization
from utvm.op.builder import GraphBuilder
from utvm.op.cast import CastAttrs
from utvm.op.clip import ClipAttrs
from utvm.op.elementwise import FLOAT_RANGE, BinaryAttrs
from utvm.op.quantize_dynamic import QuantizeDynamicAttrs


def hybrid_weights(b: GraphBuilder, node: Node) -> Quantization | None:
    """How the weights of a hybrid layer are quantized; None for any other layer."""
    x, weight = (b.value(name) for name in node.inputs[:2])
    return weight.quantization if x.dtype.is_float and weight.dtype is DType.INT8 else None


def legalize_hybrid(
    b: GraphBuilder,
    node: Node,
    weights: Quantization,
    plain_attrs: dict[str, Any],
    *,
    symmetric: bool,
    weight_scale_first: bool = False,
) -> tuple[str, ...]:
    """The float result of a hybrid layer; ``plain_attrs`` make the node's attributes plain.

    ``symmetric`` says how the input is quantized. Equal weight scales join the input's scale
    before the sum is multiplied. So do others, per channel, unless ``weight_scale_first``: then
    the sum is multiplied by the weight's scale and then by the input's.
    """
    attrs: Any = node.attrs
    scales = np.array(weights.scales, np.float32)
    one_scale = bool(np.all(scales == scales[0])) and not weight_scale_first
    steps, factor = b.emit_many(
        "quantize_dynamic",
        node.inputs[:1],
        QuantizeDynamicAttrs(symmetric, float(scales[0]) if one_scale else 1.0),
    )
    total = b.emit(
        node.op,
        [steps, node.inputs[1]],
        replace(attrs, activation="none", **plain_attrs),
        node.name,
    )
    result = b.emit("cast", [total], CastAttrs("float32"))
    if not one_scale:
        per_channel = b.constant(scales, "weight_scale")
        if weight_scale_first:
            result = b.emit("mul", [result, per_channel], BinaryAttrs())
        else:
            factor = b.emit("mul", [factor, per_channel], BinaryAttrs())
    result = b.emit("mul", [result, factor], BinaryAttrs())
    return (_finished(b, node, result),)


def _finished(b: GraphBuilder, node: Node, result: str) -> str:
    """The bias added, the activation applied."""
    if len(node.inputs) == 3:
        result = b.emit("add", [result, node.inputs[2]], BinaryAttrs())
    low, high = FLOAT_RANGE[node.attrs.activation]  # type: ignore[attr-defined]
    if (low, high) == FLOAT_RANGE["none"]:
        return result
    return b.emit("clip", [result], ClipAttrs(low, high))
