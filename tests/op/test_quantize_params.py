"""Quantization as the model gives it: fused activation ranges, and what is refused."""

from __future__ import annotations

import math

import pytest

from utvm.ir.dtype import DType
from utvm.op.quantize_params import (
    Activation,
    Quant,
    activation_bounds,
    activation_range,
    operator_multiplier,
    require_dtypes,
    require_symmetric,
    rounded_log2,
)
from utvm.support.errors import ModelError, UnsupportedError


@pytest.mark.parametrize("scale", [0.0, -0.5, math.nan, math.inf, 1e-60, 1e60])
def test_unusable_scale_is_refused(scale: float) -> None:
    with pytest.raises(ModelError, match="scale is not usable; expected a positive finite float32"):
        Quant(scale, 0, DType.INT8)


def test_zero_point_outside_its_type_is_refused() -> None:
    with pytest.raises(ModelError, match="expected 0 to 255 for uint8; found -1"):
        Quant(0.5, -1, DType.UINT8)


@pytest.mark.parametrize(
    ("activation", "expected"),
    [
        (Activation.NONE, (-128, 127)),
        (Activation.RELU, (-10, 127)),
        (Activation.RELU6, (-10, 50)),
        (Activation.RELU_N1_TO_1, (-20, 0)),
    ],
)
def test_activation_range_on_int8(activation: Activation, expected: tuple[int, int]) -> None:
    assert activation_range(activation, Quant(0.1, -10, DType.INT8)) == expected


def test_activation_range_stays_inside_the_type() -> None:
    assert activation_range(Activation.RELU6, Quant(0.01, 100, DType.UINT8)) == (100, 255)


def test_activation_bound_rounds_halves_away() -> None:
    assert activation_range(Activation.RELU_N1_TO_1, Quant(0.4, 0, DType.INT8)) == (-3, 3)


def test_activation_bound_that_overflows_is_refused() -> None:
    with pytest.raises(ModelError, match="activation bound 6 does not fit"):
        activation_range(Activation.RELU6, Quant(1e-10, 0, DType.INT8))


def test_real_bounds() -> None:
    assert activation_bounds(Activation.RELU) == (0.0, math.inf)
    assert activation_bounds(Activation.RELU_N1_TO_1) == (-1.0, 1.0)
    assert activation_bounds(Activation.NONE) == (-math.inf, math.inf)


def test_types_outside_the_table_are_named() -> None:
    allowed = frozenset({(DType.INT8, DType.INT8), (DType.UINT8, DType.UINT8)})
    require_dtypes("TANH", (DType.INT8, DType.INT8), allowed)
    message = "TANH does not take these types; expected int8/int8 or uint8/uint8; found int8/uint8"
    with pytest.raises(UnsupportedError, match=message):
        require_dtypes("TANH", (DType.INT8, DType.UINT8), allowed)


def test_int16_must_be_symmetric() -> None:
    require_symmetric("ADD", Quant(0.5, 3, DType.INT8))
    with pytest.raises(ModelError, match="ADD on int16 needs symmetric quantization"):
        require_symmetric("ADD", Quant(0.5, 3, DType.INT16))


@pytest.mark.parametrize("real", [2.0**30, math.inf, math.nan])
def test_factor_beyond_the_shifts_is_refused(real: float) -> None:
    with pytest.raises(UnsupportedError, match="the scales of MUL are too far apart"):
        operator_multiplier("MUL", real)


def test_largest_factor_is_taken() -> None:
    assert operator_multiplier("MUL", math.nextafter(2.0**29, 0.0)) == (1 << 30, 30)


def test_power_of_two_scales_are_recognized() -> None:
    assert rounded_log2(Quant(2.0**-11, 0, DType.INT16).f32) == -11
    assert rounded_log2(Quant(1.0005, 0, DType.INT16).f32) == 0
    assert rounded_log2(Quant(0.3, 0, DType.INT16).f32) is None
