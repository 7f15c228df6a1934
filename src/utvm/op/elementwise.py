"""What the elementwise operators share: type rules, attributes, and the binary operator pattern.

Operands broadcast by NumPy's rules and have one element type. Fused activations exist only in
the quantized or imported form; ``legalize`` turns them into ``clip``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from utvm.ir.dtype import DType
from utvm.ir.graph import Attrs, TensorType
from utvm.ir.loop import Binary, Expr
from utvm.ir.verify_graph import Check
from utvm.op.base import Arrays, Constants, Op, Types, broadcast_shape, expect, expect_inputs
from utvm.op.definition import Element
from utvm.op.ranges import arithmetic_range

ACTIVATIONS = ("none", "relu", "relu6", "relu_n1_to_1")
FLOAT_RANGE = {
    "none": (-np.inf, np.inf),
    "relu": (0.0, np.inf),
    "relu6": (0.0, 6.0),
    "relu_n1_to_1": (-1.0, 1.0),
}


@dataclass(frozen=True)
class BinaryAttrs(Attrs):
    """``activation``: the fused activation, one of ACTIVATIONS.

    ``power_of_two``: int16 sums whose scales are powers of two use plain shifts (TFLite's
    ``pot_scale_int16``).
    """

    activation: str = "none"
    power_of_two: bool = True


def expect_activation(name: str) -> None:
    """Refuses what is none of ACTIVATIONS."""
    expect(name in ACTIVATIONS, "unknown activation", ", ".join(ACTIVATIONS), name)


def check_floats(inputs: Types, data: Constants, attrs: object) -> None:
    """For operators that compute on floats, and on integers only with their quantization."""
    x = inputs[0]
    expect(x.dtype.is_float, "integers need a quantization here", "float32", x)


def infer_unary(inputs: Types, attrs: object) -> tuple[TensorType, ...]:
    """The result has the operand's type."""
    expect_inputs(inputs, 1)
    return (inputs[0],)


def infer_binary(inputs: Types, attrs: object) -> tuple[TensorType, ...]:
    """The result has the broadcast shape and the operands' common element type."""
    expect_inputs(inputs, 2)
    a, b = inputs
    if isinstance(attrs, BinaryAttrs):
        expect_activation(attrs.activation)
    expect(a.dtype is b.dtype, "element types differ", a.dtype.value, b.dtype.value)
    return (TensorType(broadcast_shape([a.shape, b.shape]), a.dtype),)


def check_numbers(inputs: Types, data: Constants, attrs: object) -> None:
    """Truth values are no numbers; C would multiply uint16 as signed integers."""
    x = inputs[0]
    expect(x.dtype not in (DType.BOOL, DType.UINT16), "numbers are expected here",
           "float32 or integers other than uint16", x)  # fmt: skip


def binary_op(
    name: str,
    symbol: str,
    reference: Callable[[np.ndarray, np.ndarray], np.ndarray],
    attrs: type[Attrs],
    legalize: Callable[..., tuple[str, ...] | None] | None = None,
    check: Check = check_numbers,
) -> Op:
    """A binary elementwise operator whose loop IR is one ``Binary`` expression."""

    def compute(element: Element) -> Expr:
        return Binary(symbol, element.arg(0), element.arg(1))

    def evaluate(inputs: Arrays, attrs: object) -> tuple[np.ndarray, ...]:
        a, b = inputs
        return (reference(a, b).astype(a.dtype),)

    return Op(
        name,
        attrs,
        infer_binary,
        check,
        reference=evaluate,
        compute=compute,
        legalize=legalize,
        elementwise=True,
        ranges=arithmetic_range(reference),
    )
