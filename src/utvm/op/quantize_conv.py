"""CONV_2D, DEPTHWISE_CONV_2D, TRANSPOSE_CONV and FULLY_CONNECTED: how accumulators are rescaled.

In: the ``Quant`` of input and output and the scales of the filter. Out: frozen parameters. The
convolutions rescale in fixed point, per channel; FULLY_CONNECTED's reference kernels rescale in
double with one rounding, which TFLite Micro does not follow. Sources: TFLite
kernels/kernel_util.cc, kernels/{conv,depthwise_conv,transpose_conv,fully_connected}.cc,
kernels/internal/reference/fully_connected.h, integer_ops/{conv,depthwise_conv,fully_connected}.h.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from utvm.ir.dtype import DType
from utvm.op.fixed_point import (
    INT32_MAX,
    INT32_MIN,
    Int64Array,
    int64_of,
    quantize_multiplier,
    requantize,
    round_half_away,
)
from utvm.op.quantize_params import Activation, Quant, activation_range, require_symmetric
from utvm.support.errors import ModelError, UnsupportedError

# The types of (input, filter, output) that the reference kernels compute; int4 is left out.
CONV_TYPES = frozenset(
    {
        (DType.FLOAT32, DType.FLOAT32, DType.FLOAT32),
        (DType.INT8, DType.INT8, DType.INT8),
        (DType.UINT8, DType.UINT8, DType.UINT8),
        (DType.INT16, DType.INT8, DType.INT16),
    }
)


@dataclass(frozen=True)
class ConvParams:
    """Rescaling of a convolution's accumulator; one multiplier and shift, or one per channel.

    ``wide``: the accumulator is int64 and the multiplier is reduced to 16 bits.
    """

    input_zero_point: int
    filter_zero_point: int
    multipliers: tuple[int, ...]
    shifts: tuple[int, ...]
    zero_point: int
    qmin: int
    qmax: int
    wide: bool


@dataclass(frozen=True)
class FullyConnectedParams:
    """Rescaling of FULLY_CONNECTED's accumulator by a double, one or one per output channel."""

    input_zero_point: int
    filter_zero_point: int
    scales: tuple[float, ...]
    zero_point: int
    qmin: int
    qmax: int


def _effective_scales(x: Quant, filter_scales: tuple[float, ...], out: Quant) -> list[float]:
    """input * filter / output per channel, in double, left to right."""
    return [x.f64 * float(np.float32(scale)) / out.f64 for scale in filter_scales]


def _legacy_scale(x: Quant, filter_scales: tuple[float, ...], out: Quant) -> list[float]:
    """The factor of a uint8 convolution: input * filter in float32, the division in double."""
    if len(filter_scales) > 1:
        raise UnsupportedError("uint8 convolutions have one filter scale", found="several")
    with np.errstate(all="ignore"):
        product = float(x.f32 * np.float32(filter_scales[0]))
    return [product / out.f64]


def conv_params(
    x: Quant,
    filter_scales: tuple[float, ...],
    filter_zero_point: int,
    out: Quant,
    activation: Activation,
    *,
    int32_bias: bool = False,
) -> ConvParams:
    """Parameters of the three convolutions.

    ``int32_bias`` says that the option ``quantized_bias_type`` is INT32: only then do int16
    activations accumulate in 32 bits. The type of the bias tensor alone does not say so.
    """
    wide = x.dtype is DType.INT16 and not int32_bias
    if x.dtype is DType.INT16:
        require_symmetric("a convolution", x, out)
    if x.dtype is DType.UINT8:
        reals = _legacy_scale(x, filter_scales, out)
    else:
        reals = _effective_scales(x, filter_scales, out)
        if filter_zero_point != 0:
            # The kernels ignore it, so the model cannot mean what it says.
            raise ModelError("an int8 filter has a zero point", found=str(filter_zero_point))
    pairs = [quantize_multiplier(real) for real in reals]
    shifts = tuple(shift for _, shift in pairs)
    if max(shifts) > (14 if wide else 30):
        raise UnsupportedError("a convolution's output scale is too fine", found=f"{out.scale:g}")
    qmin, qmax = activation_range(activation, out)
    return ConvParams(
        x.zero_point,
        filter_zero_point,
        tuple(multiplier for multiplier, _ in pairs),
        shifts,
        out.zero_point,
        qmin,
        qmax,
        wide,
    )


def conv_rescale(acc: npt.ArrayLike, p: ConvParams) -> Int64Array:
    """Accumulators, channels last, to outputs."""
    multipliers, shifts = int64_of(p.multipliers), int64_of(p.shifts)
    result = requantize(acc, multipliers, shifts, p.zero_point, p.qmin, p.qmax, wide=p.wide)
    return int64_of(result)


def fully_connected_params(
    x: Quant,
    filter_scales: tuple[float, ...],
    filter_zero_point: int,
    out: Quant,
    activation: Activation,
) -> FullyConnectedParams:
    """Parameters of FULLY_CONNECTED for int8, uint8 and int16 x int8.

    A filter zero point counts when there is one filter scale, also for int8; with several it is
    ignored.
    """
    if x.dtype is DType.INT16:
        require_symmetric("FULLY_CONNECTED", x, out)
    per_channel = len(filter_scales) > 1
    if per_channel and x.dtype is DType.UINT8:
        raise UnsupportedError("uint8 FULLY_CONNECTED has one filter scale", found="several")
    if per_channel and filter_zero_point != 0:
        raise ModelError("a per-channel filter has a zero point", found=str(filter_zero_point))
    scales = tuple(_effective_scales(x, filter_scales, out))
    qmin, qmax = activation_range(activation, out)
    return FullyConnectedParams(x.zero_point, filter_zero_point, scales, out.zero_point, qmin, qmax)


def fully_connected_rescale(acc: npt.ArrayLike, p: FullyConnectedParams) -> Int64Array:
    """Accumulators to outputs: one double product, halves away from zero.

    A product outside int32 is undefined in C; here it saturates.
    """
    steps = round_half_away(int64_of(acc).astype(np.float64) * np.array(p.scales))
    whole = int64_of(np.clip(steps, INT32_MIN, INT32_MAX))
    return np.clip(whole + p.zero_point, p.qmin, p.qmax)
