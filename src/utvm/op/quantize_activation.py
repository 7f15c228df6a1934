"""LOGISTIC, TANH, the RELU family, LEAKY_RELU and HARD_SWISH on quantized tensors.

In: the ``Quant`` of input and output. Out: frozen parameters and exact NumPy references; for 8-bit
types ``table_of`` turns any of them into 256 entries. LOGISTIC and TANH on 8 bits are tables of
the float function in LiteRT (its fixed-point versions are compiled only on request); on int16 both
interpolate one sigmoid table of 256 entries. Sources: TFLite kernels/activations.cc,
kernels/internal/common.h, reference/{leaky_relu,hard_swish}.h, integer_ops/{logistic,tanh}.h.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from utvm.ir.dtype import DType
from utvm.op.fixed_point import (
    Int32Array,
    Int64Array,
    int64_of,
    multiply_by_quantized_multiplier,
    quantize_multiplier,
    round_half_away,
    rounding_divide_by_pot,
    saturate,
    saturating_rounding_doubling_high_mul_16,
    wrap_int32,
)
from utvm.op.quantize_params import (
    MAX_LEFT_SHIFT,
    Quant,
    operator_multiplier,
    require_dtypes,
    require_symmetric,
    rounded_log2,
)
from utvm.support.errors import UnsupportedError

INT16_MIN, INT16_MAX = -(1 << 15), (1 << 15) - 1
_INT8 = frozenset((d, d) for d in (DType.INT8, DType.UINT8))
_INT8_16 = _INT8 | {(DType.INT16, DType.INT16)}


def table_of(function: Callable[[Int64Array], npt.ArrayLike], dtype: DType) -> Int64Array:
    """``function`` on every value of an 8-bit type: entry k is for the minimum plus k."""
    values = np.arange(dtype.minimum, dtype.maximum + 1, dtype=np.int64)
    return int64_of(function(values))


def float_table(function: Callable[[float], float], x: Quant, out: Quant) -> Int64Array:
    """The 256 entries of a float function on 8 bits, as LiteRT fills its lookup tables.

    Scaling is in float32; the function itself is computed in double and rounded once, which is what
    a correctly rounded float32 library gives.
    """
    values = np.arange(x.qmin, x.qmax + 1) - x.zero_point
    dequantized = x.f32 * values.astype(np.float32)
    transformed = np.array([function(float(v)) for v in dequantized], dtype=np.float32)
    rescaled = round_half_away(transformed * (np.float32(1.0) / out.f32))
    return saturate(rescaled + out.zero_point, out.qmin, out.qmax)


def _sigmoid(x: float) -> float:
    """1 / (1 + exp(-x)) with each step rounded to float32, as the float kernel computes it."""
    if x < -88.7:  # exp(-x) is above the largest float32
        return 0.0
    return float(np.float32(1.0) / (np.float32(1.0) + np.float32(math.exp(-x))))


def logistic_table(x: Quant, out: Quant) -> Int64Array:
    """LOGISTIC on 8 bits; the output scale is fixed at 1/256, its zero point free."""
    require_dtypes("LOGISTIC", (x.dtype, out.dtype), _INT8)
    if out.f64 != 1.0 / 256:
        raise UnsupportedError("LOGISTIC has a fixed output scale", expected="1/256")
    return float_table(_sigmoid, x, out)


def tanh_table(x: Quant, out: Quant) -> Int64Array:
    """TANH on 8 bits, any output scale."""
    require_dtypes("TANH", (x.dtype, out.dtype), _INT8)
    return float_table(math.tanh, x, out)


@dataclass(frozen=True)
class SigmoidParams:
    """LOGISTIC and TANH on int16: input * multiplier >> shift is in steps of 1/(3 * 4096)."""

    multiplier: int
    shift: int


def _sigmoid_params(op: str, x: Quant, out: Quant, exact_shifts: tuple[int, ...]) -> SigmoidParams:
    require_dtypes(op, (x.dtype, out.dtype), frozenset({(DType.INT16, DType.INT16)}))
    require_symmetric(op, x, out)
    if rounded_log2(out.f32) != -15 or (op == "LOGISTIC" and out.f64 != 2.0**-15):
        raise UnsupportedError(f"{op} on int16 has a fixed output scale", expected="1/32768")
    log2 = rounded_log2(x.f32)
    if log2 is not None and 12 + log2 in exact_shifts:
        return SigmoidParams(3 << (12 + log2), 0)
    multiplier, shift = x.f64 * 4096.0 * 3.0, 0
    while multiplier <= 32767.0 / 2.0 and shift <= 30:
        multiplier *= 2.0
        shift += 1
    if multiplier >= 1 << 16:
        # The product with an int16 would no longer fit 32 bits.
        raise UnsupportedError(f"the input scale of {op} is too coarse", found=f"{x.scale:g}")
    return SigmoidParams(int(multiplier), shift)


def logistic16_params(x: Quant, out: Quant) -> SigmoidParams:
    return _sigmoid_params("LOGISTIC", x, out, (0,))


def tanh16_params(x: Quant, out: Quant) -> SigmoidParams:
    return _sigmoid_params("TANH", x, out, (0, 1))


# Where the table that the kernels share stands one step above the rounded sigmoid.
# fmt: off
_SIGMOID_RAISED = (
    4, 8, 12, 14, 15, 16, 17, 19, 20, 21, 22, 25, 27, 28, 29, 30, 31, 33, 34, 35, 37, 39, 40,
    41, 43, 44, 45, 46, 49, 50, 54, 62, 63, 64, 66, 82, 86, 93, 100, 103, 112, 116, 135, 255,
)
# fmt: on


def sigmoid_table16() -> Int64Array:
    """sigmoid(i / 24) for i in 0..255, in steps of 2^-16, at most 65535."""
    steps = [round(65536.0 / (1.0 + math.exp(-i / 24.0))) for i in range(256)]
    table = np.array(steps, dtype=np.int64)
    table[list(_SIGMOID_RAISED)] += 1
    return np.minimum(table, 65535)


def _sigmoid_input(x: npt.ArrayLike, p: SigmoidParams) -> Int64Array:
    rounding = (1 << (p.shift - 1)) if p.shift > 0 else 0
    return int64_of(wrap_int32(int64_of(x) * p.multiplier + rounding)) >> p.shift


def logistic16_reference(x: npt.ArrayLike, p: SigmoidParams) -> Int32Array:
    """Nine fractional bits between table entries; the negative half mirrored."""
    table = sigmoid_table16()
    value = _sigmoid_input(x, p)
    magnitude = np.abs(value)
    index = np.minimum(magnitude >> 9, 254)
    low, high = table[index], table[index + 1]
    curve = np.where(
        magnitude >> 9 >= 255, 0x7FFF << 10, (low << 9) + (magnitude & 0x1FF) * (high - low)
    )
    half = 1 << 9
    mirrored = np.where(value >= 0, curve + half, (1 << 25) - curve + half - 1)
    return (mirrored >> 10).astype(np.int16).astype(np.int32)


def tanh16_reference(x: npt.ArrayLike, p: SigmoidParams) -> Int32Array:
    """2 sigmoid(2x) - 1 from the same table, with eight fractional bits."""
    table = sigmoid_table16()
    value = _sigmoid_input(x, p)
    magnitude = np.abs(value)
    index = np.minimum(magnitude >> 8, 254)
    low, high = table[index], table[index + 1]
    curve = np.where(
        magnitude >> 8 >= 255, 0xFFFF << 8, (low << 8) + (magnitude & 0xFF) * (high - low)
    )
    one, half = 1 << 23, 1 << 7
    centred = np.where(value >= 0, curve - one + half, -curve + one + half - 1)
    return (centred >> 8).astype(np.int16).astype(np.int32)


@dataclass(frozen=True)
class ReluParams:
    """A standalone RELU, RELU6, ...: a requantization with clamping."""

    input_zero_point: int
    multiplier: int
    shift: int
    zero_point: int
    qmin: int
    qmax: int


def relu_params(x: Quant, out: Quant, low: float, high: float) -> ReluParams:
    """``low`` and ``high`` bound the real value: (0, inf) is RELU, (-1, 1) is RELU_N1_TO_1.

    LiteRT takes int16 for RELU and RELU6 only.
    """
    require_dtypes("RELU", (x.dtype, out.dtype), _INT8_16)
    require_symmetric("RELU", x, out)
    if x.dtype is DType.INT16 and high == 1.0:
        raise UnsupportedError("RELU_N1_TO_1 and RELU_0_TO_1 do not take int16")
    multiplier, shift = operator_multiplier("RELU", _ratio32(x, out))
    qmin = max(out.qmin, out.quantized(low))
    qmax = out.qmax if math.isinf(high) else min(out.qmax, out.quantized(high))
    return ReluParams(x.zero_point, multiplier, shift, out.zero_point, qmin, qmax)


def relu_reference(x: npt.ArrayLike, p: ReluParams) -> Int32Array:
    centred = int64_of(x) - p.input_zero_point
    moved = multiply_by_quantized_multiplier(centred, p.multiplier, p.shift)
    total = wrap_int32(int64_of(moved) + p.zero_point)
    # max before min: the order matters where the bounds cross.
    return np.minimum(np.maximum(total, p.qmin), p.qmax).astype(np.int32)


@dataclass(frozen=True)
class LeakyReluParams:
    """One factor for inputs at or above the zero point, another (magnitude and sign) below."""

    input_zero_point: int
    multiplier: int
    shift: int
    alpha_multiplier: int
    alpha_shift: int
    alpha_negative: bool
    zero_point: int
    qmin: int
    qmax: int


def leaky_relu_params(x: Quant, out: Quant, alpha: float) -> LeakyReluParams:
    """``alpha`` as the float32 of the model; both real factors are computed in float32."""
    require_dtypes("LEAKY_RELU", (x.dtype, out.dtype), _INT8_16)
    require_symmetric("LEAKY_RELU", x, out)
    with np.errstate(all="ignore"):
        slope = float(x.f32 * np.float32(alpha) / out.f32)
    multiplier, shift = operator_multiplier("LEAKY_RELU", _ratio32(x, out))
    alpha_multiplier, alpha_shift = operator_multiplier("LEAKY_RELU", slope)
    return LeakyReluParams(
        x.zero_point,
        multiplier,
        shift,
        abs(alpha_multiplier),
        alpha_shift,
        alpha_multiplier < 0,
        out.zero_point,
        out.qmin,
        out.qmax,
    )


def leaky_relu_reference(x: npt.ArrayLike, p: LeakyReluParams) -> Int32Array:
    centred = int64_of(x) - p.input_zero_point
    identity = multiply_by_quantized_multiplier(centred, p.multiplier, p.shift)
    sloped = multiply_by_quantized_multiplier(centred, p.alpha_multiplier, p.alpha_shift)
    sloped = -sloped if p.alpha_negative else sloped
    total = int64_of(np.where(centred >= 0, identity, sloped)) + p.zero_point
    return np.clip(wrap_int32(total), p.qmin, p.qmax).astype(np.int32)


def _ratio32(x: Quant, out: Quant) -> float:
    """x.scale / out.scale in float32."""
    with np.errstate(all="ignore"):
        return float(x.f32 / out.f32)


@dataclass(frozen=True)
class HardSwishParams:
    """HARD_SWISH on 8 bits: int16 arithmetic on the input times 128."""

    input_zero_point: int
    relu_multiplier: int
    relu_shift: int
    multiplier: int
    right_shift: int
    zero_point: int
    qmin: int
    qmax: int


def _multiplier16(real: float) -> tuple[int, int]:
    """A real factor as (Q15 multiplier, left shift)."""
    multiplier, shift = quantize_multiplier(real)
    limit = (1 << 31) - 1 - (1 << 15)
    return (INT16_MAX if multiplier >= limit else (multiplier + (1 << 15)) >> 16), shift


def _divide_by_pot_16(x: Int64Array, right: int) -> Int64Array:
    """Rounding division by 2^right as gemmlowp's int16 version does it.

    Its mask is an int16: from right = 16 on it is -1, and the result is 1 for x >= 0 and -1 below.
    Such a shift stands for an output scale so coarse that every output should be the zero point.
    """
    if right < 16:
        return int64_of(rounding_divide_by_pot(x, right))
    return (x >> min(right, 31)) + (x >= 0)


def hard_swish_params(x: Quant, out: Quant) -> HardSwishParams:
    require_dtypes("HARD_SWISH", (x.dtype, out.dtype), _INT8)
    fine = np.float32(1.0 / 128.0) * x.f32
    with np.errstate(all="ignore"):
        multiplier, shift = _multiplier16(float(fine / out.f32))
        relu_multiplier, relu_shift = _multiplier16(float(fine / np.float32(3.0 / 32768.0)))
    if relu_shift > MAX_LEFT_SHIFT:
        raise UnsupportedError("the input scale of HARD_SWISH is too coarse", found=f"{x.scale:g}")
    if shift > 0:
        raise UnsupportedError(
            "the output scale of HARD_SWISH is too fine for its input",
            expected=f"at least {float(fine):g}",
            found=f"{out.scale:g}",
        )
    return HardSwishParams(
        x.zero_point,
        relu_multiplier,
        relu_shift,
        multiplier,
        -shift,
        out.zero_point,
        out.qmin,
        out.qmax,
    )


def hard_swish_reference(x: npt.ArrayLike, p: HardSwishParams) -> Int32Array:
    """x * relu6(x + 3) / 6, the second factor as a fraction of 2^15 between 0 and 1."""
    fine = (int64_of(x) - p.input_zero_point) << 7
    on_output_scale = int64_of(saturating_rounding_doubling_high_mul_16(fine, p.multiplier))
    gate = fine
    if p.relu_shift > 0:
        gate = saturate(gate << (p.relu_shift - 1), INT16_MIN, INT16_MAX)
    gate = int64_of(saturating_rounding_doubling_high_mul_16(gate, p.relu_multiplier))
    if p.relu_shift > 0:
        gate = saturate(gate << 1, INT16_MIN, INT16_MAX)
    if p.relu_shift < 0:
        gate = _divide_by_pot_16(gate, -p.relu_shift)
    gate = (gate + (1 << 15)) >> 1
    product = gate * on_output_scale
    # This one high multiply truncates towards zero.
    truncated = np.where(product >= 0, product >> 15, -((-product) >> 15))
    rounded = _divide_by_pot_16(truncated, p.right_shift)
    return saturate(rounded + p.zero_point, p.qmin, p.qmax).astype(np.int32)
