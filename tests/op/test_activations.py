"""logistic, tanh, relu, leaky_relu and hard_swish: compiled TFLite operators equal LiteRT.

8-bit tensors are tried with every value of their type, int16 with a dense sample.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.op.plain_models import Plain, check_plain
from tests.op.quantized_models import Array, all_values, random_quant
from tests.op.single_op_models import Model, check_models, op_model
from utvm.driver.pipeline import compile_graph
from utvm.importers.tflite import import_tflite
from utvm.ir.dtype import DType
from utvm.op.clip import ClipAttrs
from utvm.op.leaky_relu import LeakyReluAttrs, LeakyRequantizeAttrs
from utvm.op.quantize_activation import sigmoid_table16
from utvm.op.quantize_params import Quant
from utvm.op.registry import find_op
from utvm.op.sigmoid16 import Sigmoid16Attrs
from utvm.target.target import load_target

I8, U8, I16, F32 = DType.INT8, DType.UINT8, DType.INT16, DType.FLOAT32
FIXED = {
    "LOGISTIC": {I8: Quant(1 / 256, -128, I8), U8: Quant(1 / 256, 0, U8)},
    "TANH": {I8: Quant(1 / 128, 0, I8), U8: Quant(1 / 128, 128, U8)},
}
SIGMOID16 = Quant(1 / 32768, 0, I16)
REALS = np.concatenate([np.linspace(-20, 20, 401), [-100, 100, 0.0, -0.0]]).astype(np.float32)


def samples(dtype: DType) -> Array:
    if dtype is F32:
        return REALS[None]
    return all_values(dtype)[:, :: 37 if dtype is I16 else 1]


def model(kind: str, dtype: DType, x: Quant | None, out: Quant | None, **options: Any) -> Model:
    data = samples(dtype)
    version = 1 if x is None or kind in ("RELU_N1_TO_1", "HARD_SWISH") else 2
    return op_model(kind, [data], [x], data.shape, out, version=version, **options)


@pytest.mark.parametrize("kind", ["LOGISTIC", "TANH"])
def test_sigmoids_equal_litert(kind: str) -> None:
    rng = np.random.default_rng(111)
    models = [model(kind, F32, None, None)]
    for dtype in (I8, U8):
        for _ in range(4):
            models.append(model(kind, dtype, random_quant(rng, dtype, -9, 0), FIXED[kind][dtype]))
    for scale in (8 / 32768, 2.0**-12, 2.0**-11, 3.3e-5, 0.003, 2.5e-4):
        models.append(model(kind, I16, Quant(scale, 0, I16), SIGMOID16))
    check_models(models)


@pytest.mark.parametrize("kind", ["RELU", "RELU6", "RELU_N1_TO_1", "LEAKY_RELU", "HARD_SWISH"])
def test_rectifiers_equal_litert(kind: str) -> None:
    rng = np.random.default_rng(112)
    models = [model(kind, F32, None, None)]
    dtypes = [I8, U8] if kind in ("RELU_N1_TO_1", "HARD_SWISH") else [I8, U8, I16]
    for dtype in dtypes:
        for number in range(4):
            options = {"alpha": (0.1, 0.3, 1.5, -0.2)[number]} if kind == "LEAKY_RELU" else {}
            low, high = (-14, -10) if dtype is I16 else (-6, -2)
            x = random_quant(rng, dtype, low, high)
            scale = x.scale * float(rng.uniform(1.0, 4.0))
            same = number == 0 and kind != "HARD_SWISH"
            out = x if same else Quant(scale, random_quant(rng, dtype).zero_point, dtype)
            models.append(model(kind, dtype, x, out, **options))
    check_models(models)


@pytest.mark.parametrize(
    ("kind", "dtype", "same", "expected"),
    [
        ("RELU6", I8, True, "clip"),
        ("RELU6", I8, False, "lut"),
        ("RELU", I16, False, "requantize"),
        ("LEAKY_RELU", U8, True, "lut"),
        ("LEAKY_RELU", I16, True, "leaky_requantize"),
        ("HARD_SWISH", I8, False, "lut"),
    ],
)
def test_plain_form(kind: str, dtype: DType, same: bool, expected: str) -> None:
    x = Quant(0.01, 0, dtype)
    out = x if same else Quant(0.02, 0, dtype)
    graph = import_tflite(model(kind, dtype, x, out).data, name="model", find_op=find_op)
    compiled = compile_graph(graph, load_target("host"))
    assert [node.op for node in compiled.graph.nodes] == [expected]


def test_plain_operators_equal_the_reference() -> None:
    table = sigmoid_table16().astype(np.uint16)
    wide = all_values(I16)[:, ::29]
    cases = [Plain(op, [REALS]) for op in ("logistic", "tanh", "hard_swish")]
    cases += [Plain("leaky_relu", [REALS], LeakyReluAttrs(0.125))]
    cases += [Plain("clip", [REALS], ClipAttrs(0.0, 6.0))]
    for curve in ("logistic", "tanh"):
        for factor in ((3, 0), (24576, 13)):
            attrs = Sigmoid16Attrs(curve, *factor)
            cases.append(Plain("sigmoid16", [wide, table], attrs, constant=[1]))
    for negative in (False, True):
        attrs16 = LeakyRequantizeAttrs(1 << 30, 2, 1900000000, -3, negative)
        cases.append(Plain("leaky_requantize", [wide], attrs16))
    check_plain(cases)


def test_cores_compute_the_same() -> None:
    rng = np.random.default_rng(114)
    models = [
        model("LOGISTIC", I16, Quant(3.3e-4, 0, I16), SIGMOID16),
        model("TANH", I16, Quant(2.0**-12, 0, I16), SIGMOID16),
        model("LEAKY_RELU", I16, random_quant(rng, I16, -14, -10), Quant(0.001, 0, I16)),
        model("LOGISTIC", F32, None, None),
        model("HARD_SWISH", F32, None, None),
    ]
    check_models(models, "cortex-m0plus")
