"""ADD, SUB, MUL and DIV on quantized tensors: parameters and exact NumPy references.

In: the ``Quant`` of both inputs and the output, and the fused activation. Out: frozen parameters
that legalization writes into the graph, and functions on broadcastable integer arrays. MAXIMUM and
MINIMUM need no parameters: the kernels compare the stored integers. Sources: TFLite
kernels/{add,sub,mul,div}.cc, kernels/internal/reference/{add,sub,div}.h and
integer_ops/{add,mul}.h.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from utvm.ir.dtype import DType
from utvm.op.fixed_point import (
    Int32Array,
    Int64Array,
    count_leading_zeros,
    get_reciprocal,
    int64_of,
    multiply_by_quantized_multiplier,
    quantize_multiplier,
    requantize,
    rounding_divide_by_pot,
    saturate,
    saturating_rounding_doubling_high_mul,
    wrap_int32,
)
from utvm.op.quantize_params import (
    Activation,
    Quant,
    activation_range,
    operator_multiplier,
    require_dtypes,
    require_symmetric,
    rounded_log2,
)
from utvm.support.errors import UnsupportedError

_SAME = frozenset((d, d, d) for d in (DType.INT8, DType.UINT8, DType.INT16))


@dataclass(frozen=True)
class SumParams:
    """ADD and SUB: both inputs go to twice the larger scale, with ``left_shift`` extra bits."""

    left_shift: int
    offset1: int
    offset2: int
    multiplier1: int
    shift1: int
    multiplier2: int
    shift2: int
    multiplier: int
    shift: int
    zero_point: int
    qmin: int
    qmax: int


@dataclass(frozen=True)
class PotSumParams:
    """ADD and SUB on int16 where all scales are powers of two: right shifts only."""

    right_shift1: int
    right_shift2: int
    qmin: int
    qmax: int


@dataclass(frozen=True)
class ProductParams:
    """MUL and DIV: ``multiplier`` and ``shift`` hold s1*s2/s3, or s1/(s2*s3)."""

    offset1: int
    offset2: int
    multiplier: int
    shift: int
    zero_point: int
    qmin: int
    qmax: int


def sum_params(op: str, a: Quant, b: Quant, out: Quant, activation: Activation) -> SumParams:
    """Parameters of ADD or SUB (``op``), for all but the power-of-two int16 case."""
    require_dtypes(op, (a.dtype, b.dtype, out.dtype), _SAME)
    require_symmetric(op, a, b, out)
    left_shift = 15 if out.dtype is DType.INT16 else 20
    # Twice a float32 is exact, and so is its product with a power of two; the rest is in double.
    twice_max = 2.0 * max(a.f64, b.f64)
    multiplier1, shift1 = quantize_multiplier(a.f64 / twice_max)
    multiplier2, shift2 = quantize_multiplier(b.f64 / twice_max)
    multiplier, shift = quantize_multiplier(twice_max / ((1 << left_shift) * out.f64))
    if shift > 0:
        # LiteRT aborts here for ADD and shifts by a negative count for SUB.
        raise UnsupportedError(
            f"the output scale of {op} is too fine for its inputs",
            expected=f"at least {twice_max / (1 << left_shift):g}",
            found=f"{out.scale:g}",
        )
    qmin, qmax = activation_range(activation, out)
    return SumParams(
        left_shift,
        -a.zero_point,
        -b.zero_point,
        multiplier1,
        shift1,
        multiplier2,
        shift2,
        multiplier,
        shift,
        out.zero_point,
        qmin,
        qmax,
    )


def pot_sum_params(
    op: str, a: Quant, b: Quant, out: Quant, activation: Activation
) -> PotSumParams | None:
    """The int16 case with power-of-two scales; None where the general one applies.

    Asked for by the option ``pot_scale_int16``, whose default is true. One input must have the
    output's scale and the other a finer one.
    """
    require_symmetric(op, a, b, out)
    logs = [rounded_log2(q.f32) for q in (a, b, out)]
    if out.dtype is not DType.INT16 or None in logs:
        return None
    log1, log2, log_out = (log for log in logs if log is not None)
    shift1, shift2 = log1 - log_out, log2 - log_out
    if shift1 > 0 or shift2 > 0 or (shift1 and shift2) or min(shift1, shift2) < -15:
        raise UnsupportedError(
            f"{op} on int16 with power-of-two scales cannot rescale these",
            expected="one input on the output's scale, the other on it or finer",
            found=f"2^{log1}, 2^{log2} and 2^{log_out}",
        )
    qmin, qmax = activation_range(activation, out)
    return PotSumParams(-shift1, -shift2, qmin, qmax)


def _scaled_inputs(
    x: npt.ArrayLike, y: npt.ArrayLike, p: SumParams
) -> tuple[Int64Array, Int64Array]:
    shifted1 = (int64_of(x) + p.offset1) << p.left_shift
    shifted2 = (int64_of(y) + p.offset2) << p.left_shift
    scaled1 = multiply_by_quantized_multiplier(wrap_int32(shifted1), p.multiplier1, p.shift1)
    scaled2 = multiply_by_quantized_multiplier(wrap_int32(shifted2), p.multiplier2, p.shift2)
    return int64_of(scaled1), int64_of(scaled2)


def add_reference(x: npt.ArrayLike, y: npt.ArrayLike, p: SumParams) -> Int32Array:
    left, right = _scaled_inputs(x, y, p)
    total = wrap_int32(left + right)
    return requantize(total, p.multiplier, p.shift, p.zero_point, p.qmin, p.qmax)


def sub_reference(x: npt.ArrayLike, y: npt.ArrayLike, p: SumParams) -> Int32Array:
    left, right = _scaled_inputs(x, y, p)
    total = wrap_int32(left - right)
    return requantize(total, p.multiplier, p.shift, p.zero_point, p.qmin, p.qmax)


def pot_add_reference(x: npt.ArrayLike, y: npt.ArrayLike, p: PotSumParams) -> Int32Array:
    left = int64_of(rounding_divide_by_pot(x, p.right_shift1))
    right = int64_of(rounding_divide_by_pot(y, p.right_shift2))
    return wrap_int32(saturate(left + right, p.qmin, p.qmax))


def pot_sub_reference(x: npt.ArrayLike, y: npt.ArrayLike, p: PotSumParams) -> Int32Array:
    left = int64_of(rounding_divide_by_pot(x, p.right_shift1))
    right = int64_of(rounding_divide_by_pot(y, p.right_shift2))
    return wrap_int32(saturate(left - right, p.qmin, p.qmax))


def _product_params(
    op: str, a: Quant, b: Quant, out: Quant, activation: Activation, real: float
) -> ProductParams:
    require_dtypes(op, (a.dtype, b.dtype, out.dtype), _SAME)
    require_symmetric(op, a, b, out)
    multiplier, shift = operator_multiplier(op, real)
    qmin, qmax = activation_range(activation, out)
    return ProductParams(
        -a.zero_point, -b.zero_point, multiplier, shift, out.zero_point, qmin, qmax
    )


def mul_params(a: Quant, b: Quant, out: Quant, activation: Activation) -> ProductParams:
    """Parameters of MUL: the real multiplier is computed in float32, left to right."""
    with np.errstate(all="ignore"):
        real = float(a.f32 * b.f32 / out.f32)
    return _product_params("MUL", a, b, out, activation, real)


def mul_reference(x: npt.ArrayLike, y: npt.ArrayLike, p: ProductParams) -> Int32Array:
    product = wrap_int32((int64_of(x) + p.offset1) * (int64_of(y) + p.offset2))
    return requantize(product, p.multiplier, p.shift, p.zero_point, p.qmin, p.qmax)


def div_params(a: Quant, b: Quant, out: Quant, activation: Activation) -> ProductParams:
    """Parameters of DIV: the real multiplier is computed in float32, denominator first."""
    with np.errstate(all="ignore"):
        real = float(a.f32 / (b.f32 * out.f32))
    return _product_params("DIV", a, b, out, activation, real)


def _divide_by_any_pot(x: Int32Array, right: Int64Array) -> Int32Array:
    """Rounding division by 2^right, with right outside 0..31 as x86-64 builds of LiteRT do it.

    A quotient far below one output step asks for such a right. C leaves it undefined; the machine
    takes the counts modulo 64 (the mask, of which 32 bits are kept) and modulo 32 (the value). As a
    quotient the result is wrong, a tiny one may saturate, but it is what the reference outputs.
    """
    value = int64_of(x)
    mask = int64_of(wrap_int32((np.int64(1) << (right & 63)) - 1))
    threshold = (mask >> 1) + (value < 0)
    return wrap_int32((value >> (right & 31)) + ((value & mask) > threshold))


def div_reference(x: npt.ArrayLike, y: npt.ArrayLike, p: ProductParams) -> Int32Array:
    """The quotient through a fixed-point reciprocal; a zero divisor is undefined in the kernels."""
    numerator, divisor = int64_of(x) + p.offset1, int64_of(y) + p.offset2
    numerator = np.where(divisor < 0, -numerator, numerator)
    inverse, inverse_shift = get_reciprocal(np.abs(divisor), 31)
    # Leading sign bits: what the numerator can move left without overflow.
    magnitude = np.where(numerator < 0, -numerator - 1, numerator)
    headroom = count_leading_zeros(magnitude) - 1
    quotient = saturating_rounding_doubling_high_mul(wrap_int32(numerator << headroom), inverse)
    right = -(p.shift - inverse_shift - headroom)
    scaled = saturating_rounding_doubling_high_mul(quotient, p.multiplier)
    rounded = _divide_by_any_pot(scaled, right)
    moved = wrap_int32(int64_of(rounded) + p.zero_point)
    return np.clip(moved, p.qmin, p.qmax).astype(np.int32)
