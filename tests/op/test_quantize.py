"""quantize and dequantize: compiled TFLite operators equal LiteRT, plain ones the reference."""

from __future__ import annotations

import numpy as np
import pytest

from tests.op.plain_models import Plain, check_plain
from tests.op.quantized_models import Array, all_values, random_data, random_quant
from tests.op.single_op_models import Model, check_models, op_model
from utvm.driver.pipeline import compile_graph
from utvm.importers.tflite import import_tflite
from utvm.ir.dtype import DType
from utvm.op.dequantize import DequantizeAttrs
from utvm.op.quantize import QuantizeAttrs
from utvm.op.quantize_params import Quant
from utvm.op.registry import find_op
from utvm.support.errors import ModelError, UnsupportedError
from utvm.target.target import load_target

I8, U8, I16, I32, F32 = DType.INT8, DType.UINT8, DType.INT16, DType.INT32, DType.FLOAT32
PAIRS = [
    *((I8, I8), (I8, U8), (I8, I16), (U8, I8), (U8, U8), (U8, I16)),
    *((I16, I8), (I16, I16), (I16, I32), (I32, I8), (I32, I16)),
]


def reals_around_halves(scale: float) -> Array:
    """Multiples of half a step and their neighbours, and numbers far outside."""
    halves = np.float32(scale) * (np.arange(-700, 700) / np.float32(2)).astype(np.float32)
    up, down = np.nextafter(halves, np.float32(np.inf)), np.nextafter(halves, np.float32(-np.inf))
    ends = np.array([1e30, -1e30, np.inf, -np.inf, 0.0, -0.0], np.float32)
    return np.concatenate([halves, up, down, ends]).astype(np.float32)[None]


def integers(dtype: DType) -> Array:
    if dtype is I32:
        wide = random_data(np.random.default_rng(1), I32, (1, 300))
        return (wide >> np.arange(300) % 31).astype(np.int32)
    return all_values(dtype)[:, :: 31 if dtype is I16 else 1]


def quantize_model(data: Array, x: Quant | None, out: Quant) -> Model:
    dtype = out.dtype.numpy
    return op_model("QUANTIZE", [data], [x], data.shape, out, out_dtype=dtype, version=2)


@pytest.mark.parametrize("target", ["host", "cortex-m4"])
def test_reals_to_integers_equal_litert(target: str) -> None:
    rng = np.random.default_rng(131)
    models = []
    for dtype in (I8, U8, I16):
        for scale in (0.5, 0.1, 1 / 3, 0.0123):
            data = reals_around_halves(scale)
            # Numbers beyond int32 are undefined in LiteRT; utvm saturates.
            data = data[np.abs(data) < 1e6][None]
            models.append(quantize_model(data, None, Quant(scale, 3 * (dtype is not I16), dtype)))
            out = random_quant(rng, dtype, -8, 2)
            models.append(quantize_model(data, None, out))
    check_models(models, target)


def rescaled_models(rng: np.random.Generator, source: DType, target: DType) -> list[Model]:
    models = []
    for _ in range(5):
        zero = 0 if source is I32 else random_quant(rng, source).zero_point
        x = Quant(random_quant(rng, I8, -9, 1).scale, zero, source)
        zero = 0 if target in (I16, I32) else random_quant(rng, target).zero_point
        out = Quant(x.scale * float(rng.uniform(0.1, 8)), zero, target)
        models.append(quantize_model(integers(source), x, out))
    same = Quant(0.25, 0 if source in (I16, I32) else 7, source)
    return [*models, quantize_model(integers(source), same, Quant(0.25, 0, target))]


def test_integers_to_integers_equal_litert() -> None:
    rng = np.random.default_rng(132)
    check_models([model for pair in PAIRS for model in rescaled_models(rng, *pair)])


@pytest.mark.parametrize(
    ("x", "out", "expected"),
    [
        (Quant(0.5, 3, I8), Quant(0.5, 3, I8), ["copy"]),
        (Quant(0.5, 3, I8), Quant(0.5, 131, U8), ["cast", "add", "cast"]),
        (Quant(0.5, 0, I8), Quant(0.5, 0, I16), ["cast"]),
        (Quant(0.5, 3, I8), Quant(0.5, 4, I8), ["lut"]),
        (Quant(0.5, 3, I8), Quant(0.4, 3, I8), ["lut"]),
        (Quant(0.5, 0, I16), Quant(0.4, 3, I8), ["requantize"]),
    ],
)
def test_plain_form(x: Quant, out: Quant, expected: list[str]) -> None:
    model = quantize_model(integers(x.dtype), x, out)
    graph = import_tflite(model.data, name="model", find_op=find_op)
    compiled = compile_graph(graph, load_target("host"))
    assert [node.op for node in compiled.graph.nodes] == expected


def test_integers_to_reals_equal_litert() -> None:
    rng = np.random.default_rng(133)
    models = []
    for dtype in (I8, U8, I16):
        for _ in range(3):
            data = integers(dtype)
            quant = random_quant(rng, dtype, -9, 3)
            models.append(
                op_model("DEQUANTIZE", [data], [quant], data.shape, None, out_dtype=np.float32,
                         version=2)
            )  # fmt: skip
    check_models(models)


def test_plain_operators_equal_the_reference() -> None:
    """Exactly, the ends and numbers that are none included."""
    cases = []
    for dtype in (I8, U8, I16):
        for scale in (0.5, 0.3):
            x = np.append(reals_around_halves(scale), np.float32(np.nan))
            cases.append(Plain("quantize", [x], QuantizeAttrs(dtype.value, scale, 5)))
    for dtype in (I8, U8, I16, I32):
        x = integers(dtype) // 256 if dtype is I32 else integers(dtype)  # exact as float32
        cases.append(Plain("dequantize", [x], DequantizeAttrs(0.1, -3 if dtype is I8 else 3)))
    check_plain(cases)


def test_wide_integers_have_no_zero_point() -> None:
    """The difference could overflow."""
    model = quantize_model(integers(I32), Quant(0.5, 1, I32), Quant(0.5, 1, I8))
    graph = import_tflite(model.data, name="model", find_op=find_op)
    with pytest.raises(UnsupportedError, match="int32 with a zero point is not supported"):
        compile_graph(graph, load_target("host"))


def test_floats_are_quantized_to_few_bits() -> None:
    with pytest.raises(ModelError, match="8 or 16 bits"):
        Plain("quantize", [np.zeros(3, np.float32)], QuantizeAttrs("int32")).graph()
