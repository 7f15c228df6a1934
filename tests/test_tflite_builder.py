"""The model builder writes what LiteRT reads: every operator kind, float and quantized.

Float results are compared with NumPy, so that an option that is lost on the way (a stride, an
axis, an activation) shows. Quantized results are compared with LiteRT's float result on the
dequantized data, within two steps of the output's scale.
"""

from __future__ import annotations

import numpy as np
import pytest
import tflite

from tests.litert import run_litert
from tests.tflite_builder import OPTIONS, ModelBuilder
from tests.tflite_cases import CASES, QUANTIZABLE, Case, float_model, quantized_model

STEPS = 2.0
# LiteRT's kernels refuse int16 here, except for SUM: its int8 form reads the data as uint8, and its
# int16 form reads memory that nobody wrote.
MISSING: dict[str, set[str]] = {
    "int8": {"SUM"},
    "uint8": set(),
    "int16": {"HARD_SWISH", "RELU_N1_TO_1", "SUM"},
}
QUANTIZED = [
    pytest.param(case, dtype, id=f"{case.name}-{dtype}")
    for dtype, missing in MISSING.items()
    for case in QUANTIZABLE
    if case.kind not in missing
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_float_operator_gives_what_numpy_gives(case: Case) -> None:
    model, inputs = float_model(case)
    results = run_litert(model, inputs)
    assert len(results) == len(case.expected)
    for result, expected in zip(results, case.expected, strict=True):
        np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("case", "dtype"), QUANTIZED)
def test_quantized_operator_comes_near_the_float_one(case: Case, dtype: str) -> None:
    quantized = quantized_model(case, dtype)
    model, inputs = float_model(quantized.float_case)
    results = run_litert(quantized.model, quantized.inputs)
    for result, expected, scale, zero_point in zip(
        results,
        run_litert(model, inputs),
        quantized.output_scales,
        quantized.output_zero_points,
        strict=True,
    ):
        restored = (result.astype(np.float64) - zero_point) * scale
        assert result.dtype == dtype
        assert len(np.unique(result)) > 1
        np.testing.assert_allclose(restored, expected, rtol=0, atol=STEPS * scale)


def test_quantize_and_dequantize_are_inverse() -> None:
    model = ModelBuilder()
    given = model.tensor([4], "float32")
    stored = model.tensor([4], "int8", 0.5, 3)
    restored = model.tensor([4], "float32")
    model.op("QUANTIZE", [given], [stored])
    model.op("DEQUANTIZE", [stored], [restored])
    quantized, result = run_litert(model.build([given], [stored, restored]), [[-1.0, 0.0, 2.5, 99]])
    assert quantized.tolist() == [1, 3, 8, 127]
    assert result.tolist() == [-1.0, 0.0, 2.5, 62.0]


def test_an_input_may_be_left_out() -> None:
    model = ModelBuilder()
    x = model.tensor([1, 2], "float32")
    weights = model.tensor([1, 2], "float32", data=[3.0, 4.0])
    y = model.tensor([1, 1], "float32")
    model.op("FULLY_CONNECTED", [x, weights, -1], [y])
    assert run_litert(model.build([x], [y]), [[[1.0, 10.0]]])[0].tolist() == [[43.0]]


def test_every_option_of_the_table_exists_in_the_schema() -> None:
    for kind, (table, _) in OPTIONS.items():
        assert hasattr(tflite.BuiltinOperator, kind)
        assert hasattr(tflite.BuiltinOptions, f"{table}Options")


def test_names_signatures_and_custom_operators_are_written() -> None:
    model = ModelBuilder("hello")
    x = model.tensor([1, 3], "uint8", name='a"b*/\n', shape_signature=[-1, 3])
    y = model.tensor([1, 3], "uint8", data=b"\x01\x02")
    model.op("CUSTOM", [x], [y], custom_code="MyOp")
    root = tflite.Model.GetRootAs(model.build([x], [y]))
    subgraph = root.Subgraphs(0)
    assert root.Description() == b"hello"
    assert root.OperatorCodes(0).CustomCode() == b"MyOp"
    assert subgraph.Tensors(x).Name() == b'a"b*/\n'
    assert subgraph.Tensors(x).ShapeSignatureAsNumpy().tolist() == [-1, 3]
    assert root.Buffers(subgraph.Tensors(y).Buffer()).DataAsNumpy().tolist() == [1, 2]


def test_the_same_calls_write_the_same_bytes() -> None:
    first, second = (quantized_model(QUANTIZABLE[0], "int8").model for _ in range(2))
    assert first == second


def test_options_for_an_operator_without_any_are_refused() -> None:
    model = ModelBuilder()
    with pytest.raises(ValueError, match="RELU has no options"):
        model.op("RELU", [0], [1], alpha=1.0)
