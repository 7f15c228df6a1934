"""div: compiled TFLite operators equal LiteRT, plain ones the reference."""

from __future__ import annotations

import numpy as np

from tests.compiled import run_graph
from tests.op.plain_models import Plain, check_plain
from tests.op.quantized_models import Array, random_data, random_quant
from tests.op.single_op_models import Model, check_models, data_of, op_model
from utvm.ir.dtype import DType
from utvm.op.div import DivRequantizeAttrs
from utvm.op.elementwise import BinaryAttrs
from utvm.op.quantize_params import Quant

I8, U8, I16, F32, I32 = DType.INT8, DType.UINT8, DType.INT16, DType.FLOAT32, DType.INT32
ACTIVATIONS = ["NONE", "RELU", "RELU6", "RELU_N1_TO_1"]
SHAPES = [
    ((1, 5, 3, 4), (1, 5, 3, 4)),
    ((2, 3, 4), (4,)),
    ((1, 1, 7), (3, 5, 1)),
    ((6,), (1,)),
    ((1,), (2, 3)),
]


def without(value: int, data: Array) -> Array:
    """The data with one step more wherever it is ``value``: divisors are not zero."""
    return np.where(data == value, data ^ 1, data).astype(data.dtype)


def quotient_model(
    rng: np.random.Generator, dtype: DType, shapes: tuple[tuple[int, ...], ...], activation: str
) -> Model:
    a, b = (data_of(rng, dtype, shape) for shape in shapes)
    out_shape = np.broadcast_shapes(*shapes)
    options = {"fused_activation_function": activation}
    if dtype in (F32, I32):
        b = np.where(np.abs(b) < 0.1, 1, b).astype(b.dtype)
        return op_model("DIV", [a, b], [None, None], out_shape, None, version=2, **options)
    left, right = random_quant(rng, dtype), random_quant(rng, dtype)
    spread = left.f64 / right.f64 * 2.0 ** rng.uniform(-4, 4)
    out = Quant(float(np.float32(spread)), random_quant(rng, dtype).zero_point, dtype)
    data = [a, without(right.zero_point, b)]
    return op_model("DIV", data, [left, right], out_shape, out, version=2, **options)


def test_quotients_equal_litert() -> None:
    rng = np.random.default_rng(101)
    models = [
        quotient_model(rng, dtype, shapes, ACTIVATIONS[number % 4])
        for dtype in (I8, U8, I16, F32)
        for number, shapes in enumerate([*SHAPES, *SHAPES[:3]])
    ]
    check_models([*models, quotient_model(rng, I32, SHAPES[0], "NONE")])


def test_integers_truncate_and_zero_divisors_give_zero() -> None:
    low, high = -(1 << 31), (1 << 31) - 1
    a = np.array([7, -7, 7, -7, 5, low, high, low, 0], np.int32)
    b = np.array([2, 2, -2, -2, 0, -1, -1, 1, 3], np.int32)
    (found,) = run_graph(Plain("div", [a, b], BinaryAttrs()).graph(), [a, b])
    assert found.tolist() == [3, -3, -3, 3, 0, low, -high, low, 0]
    check_plain([Plain("div", [a, b], BinaryAttrs())])


def test_plain_quotients_equal_the_reference() -> None:
    """Factors from far below one to far above, zero divisors included."""
    rng = np.random.default_rng(102)
    cases = []
    for dtype in (I8, U8, I16):
        for shift in (-31, -20, -8, 0, 4, 12):
            left, right, zero = (0, 0, 0)
            if dtype is not I16:
                left, right, zero = (
                    int(z) for z in rng.integers(dtype.minimum, dtype.maximum + 1, 3)
                )
            attrs = DivRequantizeAttrs(
                dtype.value, dtype.minimum, dtype.maximum, left, right,
                int(rng.integers(1 << 30, 1 << 31)), shift, zero,
            )  # fmt: skip
            operands = [random_data(rng, dtype, (9, 31)), random_data(rng, dtype, (9, 31))]
            operands[1][0, :5] = right
            cases.append(Plain("div_requantize", operands, attrs))
    check_plain(cases)
