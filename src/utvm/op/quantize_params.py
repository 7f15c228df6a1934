"""What the parameters of quantized operators are made from: scales, zero points, activations.

In: the quantization of a tensor as the model gives it. Out: ``Quant``, checked, and the integer
range that a fused activation leaves. Scales are float32 in a TFLite file, and LiteRT computes with
them partly in float32 and partly in double; ``Quant.f32`` and ``Quant.f64`` say which one is meant.
Sources: TFLite kernels/kernel_util.cc, kernels/activations.cc.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass

import numpy as np

from utvm.ir.dtype import DType
from utvm.op.fixed_point import INT32_MAX, INT32_MIN, quantize_multiplier, round_half_away
from utvm.support.errors import ModelError, UnsupportedError

MAX_LEFT_SHIFT = 30


class Activation(enum.Enum):
    """An activation fused into an operator."""

    NONE = "none"
    RELU = "relu"
    RELU6 = "relu6"
    RELU_N1_TO_1 = "relu_n1_to_1"


@dataclass(frozen=True)
class Quant:
    """Per-tensor affine quantization: real = scale * (integer - zero_point)."""

    scale: float
    zero_point: int
    dtype: DType

    def __post_init__(self) -> None:
        with np.errstate(over="ignore"):
            rounded = np.float32(self.scale)
        if not (math.isfinite(rounded) and rounded > 0):
            raise ModelError(
                "a quantization scale is not usable",
                expected="a positive finite float32",
                found=repr(self.scale),
            )
        if not self.dtype.minimum <= self.zero_point <= self.dtype.maximum:
            raise ModelError(
                "a zero point is outside its type",
                expected=f"{self.dtype.minimum} to {self.dtype.maximum} for {self.dtype.value}",
                found=str(self.zero_point),
            )

    @property
    def f32(self) -> np.float32:
        return np.float32(self.scale)

    @property
    def f64(self) -> float:
        """The float32 scale, as a double."""
        return float(np.float32(self.scale))

    @property
    def qmin(self) -> int:
        return self.dtype.minimum

    @property
    def qmax(self) -> int:
        return self.dtype.maximum

    def quantized(self, real: float) -> int:
        """``real`` on this scale, not clamped: divided in float32, halves away from zero."""
        with np.errstate(over="ignore", under="ignore"):
            steps = float(round_half_away(np.float32(real) / self.f32))
        if not INT32_MIN <= steps <= INT32_MAX:
            raise ModelError(
                f"the activation bound {real:g} does not fit the output's scale",
                expected="a quotient that fits 32 bits",
                found=f"{real:g} / {self.scale:g}",
            )
        return self.zero_point + int(steps)


_BOUNDS: dict[Activation, tuple[float | None, float | None]] = {
    Activation.NONE: (None, None),
    Activation.RELU: (0.0, None),
    Activation.RELU6: (0.0, 6.0),
    Activation.RELU_N1_TO_1: (-1.0, 1.0),
}


def activation_bounds(activation: Activation) -> tuple[float, float]:
    """The real range of an activation, with infinities; for float operators."""
    low, high = _BOUNDS[activation]
    return (-math.inf if low is None else low, math.inf if high is None else high)


def activation_range(activation: Activation, out: Quant) -> tuple[int, int]:
    """The integers that a fused activation lets through on the scale of ``out``."""
    low, high = _BOUNDS[activation]
    qmin = out.qmin if low is None else max(out.qmin, out.quantized(low))
    qmax = out.qmax if high is None else min(out.qmax, out.quantized(high))
    return qmin, qmax


def operator_multiplier(op: str, real: float) -> tuple[int, int]:
    """A real factor as (multiplier, shift), refused where the kernels' left shift is undefined."""
    if math.isfinite(real):
        multiplier, shift = quantize_multiplier(real)
        if shift <= MAX_LEFT_SHIFT:
            return multiplier, shift
    raise UnsupportedError(
        f"the scales of {op} are too far apart",
        expected=f"a factor below 2^{MAX_LEFT_SHIFT}",
        found=f"{real:g}",
    )


def require_dtypes(
    op: str, found: tuple[DType, ...], allowed: frozenset[tuple[DType, ...]]
) -> None:
    """Refuse a combination of types that LiteRT's reference kernels do not compute."""
    if found not in allowed:
        choices = sorted("/".join(d.value for d in types) for types in allowed)
        raise UnsupportedError(
            f"{op} does not take these types",
            expected=" or ".join(choices),
            found="/".join(d.value for d in found),
        )


def require_symmetric(op: str, *quants: Quant) -> None:
    """Refuse a zero point on int16 tensors, which all int16 kernels take as symmetric."""
    for quant in quants:
        if quant.dtype is DType.INT16 and quant.zero_point != 0:
            raise ModelError(
                f"{op} on int16 needs symmetric quantization",
                expected="zero point 0",
                found=str(quant.zero_point),
            )


def rounded_log2(scale: np.float32) -> int | None:
    """log2 where the scale is a power of two within a thousandth, as LiteRT tests it."""
    log2 = np.log(scale) * (np.float32(1.0) / np.float32(np.log(2.0)))
    nearest = np.round(log2)
    return int(nearest) if abs(np.float32(log2 - nearest)) < np.float32(1e-3) else None
