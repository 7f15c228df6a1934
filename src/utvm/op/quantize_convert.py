"""QUANTIZE, DEQUANTIZE, requantization between types, and uint8 CONCATENATION's rescaling.

In: the ``Quant`` of input and output. Out: exact NumPy references and, for integer to integer,
frozen parameters. Real to integer divides in float32; integer to integer multiplies in fixed point;
the two differ, so neither may stand for the other. A quotient outside int32 is undefined in C and
saturates here, as it does on Arm. Sources: TFLite kernels/{quantize,dequantize,concatenation}.cc,
kernels/internal/reference/{quantize,requantize,dequantize,concatenation}.h.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from utvm.ir.dtype import DType
from utvm.op.fixed_point import (
    INT32_MAX,
    INT32_MIN,
    Int32Array,
    Int64Array,
    int64_of,
    requantize,
    round_half_away,
    wrap_int32,
)
from utvm.op.quantize_params import Quant, operator_multiplier, require_dtypes, require_symmetric

QUANTIZE_OUTPUTS = frozenset({DType.INT8, DType.UINT8, DType.INT16})

_REQUANTIZE = frozenset(
    {
        (DType.INT8, DType.INT8),
        (DType.INT8, DType.UINT8),
        (DType.INT8, DType.INT16),
        (DType.UINT8, DType.INT8),
        (DType.UINT8, DType.UINT8),
        (DType.UINT8, DType.INT16),
        (DType.INT16, DType.INT8),
        (DType.INT16, DType.INT16),
        (DType.INT16, DType.INT32),
        (DType.INT32, DType.INT8),
        (DType.INT32, DType.INT16),
    }
)


@dataclass(frozen=True)
class RequantizeParams:
    """QUANTIZE from one integer type to another."""

    input_zero_point: int
    multiplier: int
    shift: int
    zero_point: int
    qmin: int
    qmax: int


def quantize_reference(x: npt.ArrayLike, out: Quant) -> Int64Array:
    """float32 to integers: the quotient in float32, halves away from zero, clamped. NaN is zero."""
    real = np.asarray(x, dtype=np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        steps = np.nan_to_num(round_half_away(real / out.f32), nan=0.0)
    # Adding the zero point to a saturated int32 could wrap, so it is added in 64 bits.
    whole = np.clip(steps, INT32_MIN, INT32_MAX).astype(np.int64)
    return np.clip(whole + out.zero_point, out.qmin, out.qmax)


def dequantize_reference(x: npt.ArrayLike, quant: Quant) -> npt.NDArray[np.float32]:
    """Integers to float32: one product, rounded once; in double and in float32 it is the same."""
    return (quant.f64 * (int64_of(x) - quant.zero_point)).astype(np.float32)


def requantize_params(x: Quant, out: Quant) -> RequantizeParams:
    """Parameters of QUANTIZE between integer types; the ratio of the scales is in double."""
    require_dtypes("QUANTIZE", (x.dtype, out.dtype), _REQUANTIZE)
    if x.dtype is out.dtype is DType.INT16:
        require_symmetric("QUANTIZE", x, out)
    multiplier, shift = operator_multiplier("QUANTIZE", x.f64 / out.f64)
    return RequantizeParams(x.zero_point, multiplier, shift, out.zero_point, out.qmin, out.qmax)


def requantize_reference(x: npt.ArrayLike, p: RequantizeParams) -> Int32Array:
    centred = wrap_int32(int64_of(x) - p.input_zero_point)
    return requantize(centred, p.multiplier, p.shift, p.zero_point, p.qmin, p.qmax)


def concat_input_table(x: Quant, out: Quant) -> Int64Array:
    """What CONCATENATION makes of each value of one uint8 input: the identity where scales agree.

    Everything is in float32: the inverse of the output scale, the bias, the product and the sum.
    Other types must agree with the output and are copied.
    """
    require_dtypes("CONCATENATION", (x.dtype, out.dtype), frozenset({(DType.UINT8, DType.UINT8)}))
    values = np.arange(256)
    if x.f32 == out.f32 and x.zero_point == out.zero_point:
        return int64_of(values)
    scale = x.f32 * (np.float32(1.0) / out.f32)
    bias = np.float32(-x.zero_point) * scale
    real = values.astype(np.float32) * scale + bias
    steps = int64_of(np.clip(round_half_away(real), INT32_MIN, INT32_MAX))
    return np.clip(steps + out.zero_point, 0, 255)
