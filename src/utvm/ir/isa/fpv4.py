"""FPv4-SP and FPv5, the floating-point units of Cortex-M4 and later: fused multiply-add.

Kernels that are to agree with others bit for bit do not use it: it rounds once where a product and
a sum round twice. So no loop is replaced by it, and no compiler may make it of ``a * b + c``.
Source: Armv7-M Architecture Reference Manual (DDI 0403), A7.7.
"""

from __future__ import annotations

from fractions import Fraction
from math import copysign, inf, isfinite

from utvm.ir.isa.instruction import Instruction

_LEAST_EXPONENT, _DIGITS, _BEYOND = -149, 24, 1 << 128


def fma(a: float, b: float, acc: float) -> float:
    """acc + ab, rounded once, to the nearest, ties to even."""
    plain = a * b + acc  # right for infinities, NaN and the signs of zeros
    if not all(map(isfinite, (a, b, acc))):
        return plain
    exact = Fraction(a) * Fraction(b) + Fraction(acc)
    return _nearest(exact) if exact else plain


def _nearest(exact: Fraction) -> float:
    """The float32 nearest to a number that is not zero."""
    size = abs(exact)
    exponent = size.numerator.bit_length() - size.denominator.bit_length()
    if size < Fraction(2) ** exponent:
        exponent -= 1
    unit = Fraction(2) ** max(exponent - _DIGITS + 1, _LEAST_EXPONENT)
    rounded = round(size / unit) * unit
    return copysign(inf if rounded >= _BEYOND else float(rounded), exact)


# In double, the product is exact. The sum is rounded to an odd last digit where it is not, so that
# rounding it to a float gives what rounding the exact sum would (Boldo and Melquiond, 2008).
_PORTABLE = """\
  const double product = (double)a * (double)b;
  double sum = product + (double)acc;
  const double part = sum - product;
  const double error = (product - (sum - part)) + ((double)acc - part);
  if (error > 0 || error < 0) {
    int64_t bits;
    __builtin_memcpy(&bits, &sum, sizeof bits);
    if ((bits & 1) == 0) {
      bits += (error > 0) == (sum > 0) ? 1 : -1;
    }
    __builtin_memcpy(&sum, &bits, sizeof sum);
  }
  return (float)sum;
"""

INSTRUCTIONS = (
    Instruction(
        fma,
        _PORTABLE,
        "vfma.f32 {d}, {a}, {b}",
        "multiply",
        feature="fpu",
        dtype="float32",
    ),
)
