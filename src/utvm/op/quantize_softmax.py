"""SOFTMAX on quantized tensors, along the last axis: parameters and exact NumPy references.

In: the ``Quant`` of input and output and beta. Out: for 8-bit inputs a multiplier into Q5.26 and a
table of 256 exponentials (the compiler bakes it in); for int16 two tables of 513 entries with
linear interpolation. LiteRT's reference kernels round differently from its optimized ones, which
use float tables. Sources: TFLite kernels/activations.cc (SoftmaxPrepare),
kernels/internal/reference/softmax.h, kernels/internal/common.h (LUTPopulate),
kernels/internal/quantization_util.cc.
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
    count_leading_zeros,
    exp_on_negative_values,
    get_reciprocal,
    int64_of,
    multiply_by_quantized_multiplier,
    quantize_multiplier,
    round_half_away,
    rounding_divide_by_pot,
    saturate,
    saturating_rounding_doubling_high_mul,
    wrap_int32,
)
from utvm.op.quantize_params import Quant, require_dtypes, require_symmetric
from utvm.support.errors import UnsupportedError

DIFF_INTEGER_BITS = 5
SUM_INTEGER_BITS = 12
LUT16_STEPS = 512
# A difference of two int16 shifted left so far still fits 32 bits.
MOST_SHIFT = 15

_TYPES = frozenset(
    {
        (DType.INT8, DType.INT8),
        (DType.INT8, DType.INT16),
        (DType.UINT8, DType.UINT8),
        (DType.UINT8, DType.INT16),
        (DType.INT16, DType.INT16),
    }
)
# The output is a fraction of one in these steps, whatever scale the model writes beside it.
_OUTPUT_BITS = {DType.INT8: 8, DType.UINT8: 8, DType.INT16: 16}


@dataclass(frozen=True)
class SoftmaxParams:
    """8-bit inputs. Differences below ``diff_min`` count as zero."""

    multiplier: int
    shift: int
    diff_min: int
    output_bits: int
    qmin: int
    qmax: int


@dataclass(frozen=True)
class Softmax16Params:
    """int16 inputs: the difference to the maximum in steps of 10/65535."""

    multiplier: int
    shift: int


def softmax_params(x: Quant, out: Quant, beta: float) -> SoftmaxParams:
    """Parameters for int8 and uint8 inputs; ``beta`` as the float32 of the model."""
    require_dtypes("SOFTMAX", (x.dtype, out.dtype), _TYPES - {(DType.INT16, DType.INT16)})
    if (x.dtype, out.dtype) == (DType.INT8, DType.INT8):
        _require_output(out, 1.0 / 256, -128)
    scale = float(np.float32(beta)) * x.f64
    real = min(scale * (1 << (31 - DIFF_INTEGER_BITS)), float((1 << 31) - 1))
    if not real > 1.0:
        raise UnsupportedError("SOFTMAX has too fine an input scale or beta", found=f"{scale:g}")
    multiplier, shift = quantize_multiplier(real)
    radius = ((1 << DIFF_INTEGER_BITS) - 1) * (1 << (31 - DIFF_INTEGER_BITS)) / (1 << shift)
    bits = _OUTPUT_BITS[out.dtype]
    return SoftmaxParams(multiplier, shift, -math.floor(radius), bits, out.qmin, out.qmax)


def _require_output(out: Quant, scale: float, zero_point: int) -> None:
    near = abs(out.f64 - scale) <= 0.001 * scale
    if not near or out.zero_point != zero_point:
        raise UnsupportedError(
            "SOFTMAX has a fixed output quantization",
            expected=f"scale {scale:g}, zero point {zero_point}",
            found=f"scale {out.scale:g}, zero point {out.zero_point}",
        )


def softmax_exp_table(p: SoftmaxParams) -> Int32Array:
    """exp of each difference to the maximum in Q0.31: entry d is for a difference of -d."""
    diff = -np.arange(256, dtype=np.int64)
    kept = np.maximum(diff, p.diff_min)
    scaled = saturating_rounding_doubling_high_mul(wrap_int32(kept << p.shift), p.multiplier)
    exps = exp_on_negative_values(scaled, DIFF_INTEGER_BITS)
    return np.where(diff >= p.diff_min, exps, 0).astype(np.int32)


def softmax_reference(x: npt.ArrayLike, p: SoftmaxParams) -> Int32Array:
    """Sum of exponentials in Q12.19, its reciprocal in Q0.31, one rounded product per output."""
    value = int64_of(x)
    exps = softmax_exp_table(p)[value.max(axis=-1, keepdims=True) - value]
    terms = rounding_divide_by_pot(exps, SUM_INTEGER_BITS)
    total = wrap_int32(int64_of(terms).sum(axis=-1, keepdims=True))
    reciprocal, over_unit = get_reciprocal(total, SUM_INTEGER_BITS)
    product = saturating_rounding_doubling_high_mul(exps, reciprocal)
    scaled = rounding_divide_by_pot(product, over_unit + 31 - p.output_bits)
    return saturate(int64_of(scaled) + p.qmin, p.qmin, p.qmax).astype(np.int32)


def softmax16_params(x: Quant, out: Quant, beta: float) -> Softmax16Params:
    """Parameters for int16 input and output; the scale and beta are multiplied in float32."""
    require_dtypes("SOFTMAX", (x.dtype, out.dtype), frozenset({(DType.INT16, DType.INT16)}))
    require_symmetric("SOFTMAX", x, out)
    _require_output(out, 1.0 / 32768, 0)
    with np.errstate(all="ignore"):
        scaled = float(x.f32 * np.float32(beta))
    if not (math.isfinite(scaled) and scaled >= 0):
        raise UnsupportedError("SOFTMAX has an unusable beta", found=f"{beta:g}")
    multiplier, shift = quantize_multiplier(scaled / (10.0 / 65535.0))
    if shift > MOST_SHIFT:
        raise UnsupportedError("SOFTMAX has too coarse an input scale or beta", found=f"{scaled:g}")
    return Softmax16Params(multiplier, shift)


def _lut16(function: Callable[[float], float], low: float, high: float) -> Int64Array:
    """513 samples of ``function`` in steps of 2^-15, each shifted to halve the midpoint error."""
    steps_per_unit = 65536.0 / (2.0 / 65535 * 32767 + 2.0 / 65535 * 32768)
    step = (high - low) / LUT16_STEPS
    at = [low + i * step for i in range(LUT16_STEPS + 1)]
    nodes = np.array([function(v) for v in at])
    middles = np.array([function(v + step / 2) for v in at[:-1]])
    samples = round_half_away(nodes[:-1] * steps_per_unit)
    interpolated = round_half_away((nodes[1:] * steps_per_unit + samples) / 2)
    error = interpolated - round_half_away(middles * steps_per_unit)
    entries = samples - round_half_away(error / 2)
    last = round_half_away(function(high) * steps_per_unit)
    return saturate(np.append(entries, last), -(1 << 15), (1 << 15) - 1)


def exp_lut16() -> Int64Array:
    """exp on [-10, 0], 513 entries."""
    return _lut16(math.exp, 10.0 / 65535 * (-32768 - 32767), 0.0)


def reciprocal_lut16() -> Int64Array:
    """1 / (1 + x) on [0, 1], 513 entries."""
    return _lut16(lambda v: 1.0 / (1.0 + v), 0.0, 1.0 / 65535 * (32767 + 32768))


def lut16_lookup(x: Int64Array, lut: Int64Array) -> Int64Array:
    """Linear interpolation: nine bits of index, seven of fraction."""
    index = 256 + (x >> 7)
    slope = lut[index + 1] - lut[index]
    # The kernel keeps the slope in an int16.
    slope = int64_of(slope.astype(np.int16))
    return int64_of((lut[index] + ((slope * (x & 0x7F) + 64) >> 7)).astype(np.int16))


def softmax16_reference(x: npt.ArrayLike, p: Softmax16Params) -> Int32Array:
    """Exponentials by table in Q0.15, the reciprocal of their sum by table, one rounding each."""
    value = int64_of(x)
    diff = value - value.max(axis=-1, keepdims=True)
    scaled = multiply_by_quantized_multiplier(diff, p.multiplier, p.shift)
    centred = saturate(wrap_int32(int64_of(scaled) + 32767), -32768, 32767)
    exps = lut16_lookup(centred, exp_lut16())
    total = int64_of(wrap_int32(exps.sum(axis=-1, keepdims=True)))
    headroom = count_leading_zeros(total)
    fraction = wrap_int32(((total << (headroom - 1)) + (1 << 13)) >> 14)
    at = saturate(int64_of(fraction) - ((1 << 15) + (1 << 16)), -32768, 32767)
    reciprocal = lut16_lookup(at, reciprocal_lut16())
    right = 31 - headroom
    result = (exps * reciprocal + (np.int64(1) << (right - 1))) >> right
    return saturate(wrap_int32(result), 0, 32767).astype(np.int32)
