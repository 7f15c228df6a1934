/* Scalar arithmetic of generated kernels: the intrinsics of the loop IR as inline functions.
 *
 * Every function is pure, exact and defined for all operands in the ranges stated. `>>` of a
 * negative number shifts in the sign, as every compiler for these cores does. Sources: gemmlowp
 * fixedpoint.h and TensorFlow Lite's quantization specification define the roundings; the forms
 * here are ours. */
#ifndef UTVM_FIXED_POINT_H
#define UTVM_FIXED_POINT_H

#include <stdint.h>

static inline int32_t utvm_min_int32(int32_t a, int32_t b) {
  return a < b ? a : b;
}

static inline int32_t utvm_max_int32(int32_t a, int32_t b) {
  return a > b ? a : b;
}

static inline int32_t utvm_clamp_int32(int32_t x, int32_t low, int32_t high) {
  return utvm_min_int32(utvm_max_int32(x, low), high);
}

static inline int64_t utvm_min_int64(int64_t a, int64_t b) {
  return a < b ? a : b;
}

static inline int64_t utvm_max_int64(int64_t a, int64_t b) {
  return a > b ? a : b;
}

static inline uint32_t utvm_min_uint32(uint32_t a, uint32_t b) {
  return a < b ? a : b;
}

static inline uint32_t utvm_max_uint32(uint32_t a, uint32_t b) {
  return a > b ? a : b;
}

static inline float utvm_min_float(float a, float b) {
  return a < b ? a : b;
}

static inline float utvm_max_float(float a, float b) {
  return a > b ? a : b;
}

/* |x|, for infinities, signed zeros and NaN, too. */
static inline float utvm_abs(float x) {
  return __builtin_fabsf(x);
}

/* x * 2^n modulo 2^32; 0 <= n <= 31. */
static inline int32_t utvm_shift_left_wrapping(int32_t x, int32_t n) {
  return (int32_t)((uint32_t)x << n);
}

/* x * 2^n, limited to the int32 range; 0 <= n <= 31. */
static inline int32_t utvm_shift_left_saturating(int32_t x, int32_t n) {
  const int64_t wide = (int64_t)x * ((int64_t)1 << n);
  if (wide > INT32_MAX) {
    return INT32_MAX;
  }
  return wide < INT32_MIN ? INT32_MIN : (int32_t)wide;
}

/* A literal multiplier, hidden from the compiler: clang expands a product with a positive literal as
 * an unsigned multiplication and a correction, not as the one signed multiplication of Thumb-2. */
static inline int32_t utvm_opaque(int32_t x) {
#if defined(__ARM_ARCH_ISA_THUMB) && __ARM_ARCH_ISA_THUMB >= 2
  __asm__("" : "+r"(x));
#endif
  return x;
}

/* The high word of ab. */
static inline int32_t utvm_mulhi(int32_t a, int32_t b) {
  return (int32_t)(((int64_t)a * b) >> 32);
}

/* The high word of x times a multiplier of two words: x * high and the high word of x * low.
 * high >= 0. */
static inline int32_t utvm_mulhi_long(int32_t x, int32_t high, int32_t low) {
  return (int32_t)(((int64_t)x * high + utvm_mulhi(x, low)) >> 32);
}

/* The high word of 2ab, halves up; only INT32_MIN * INT32_MIN saturates. */
static inline int32_t utvm_mulhi_rounding(int32_t a, int32_t b) {
  const int64_t high = ((int64_t)a * b + ((int64_t)1 << 30)) >> 31;
  return high > INT32_MAX ? INT32_MAX : (int32_t)high;
}

/* x / 2^n to the nearest, halves away from zero; 0 <= n <= 31. */
static inline int32_t utvm_shift_right_rounding(int32_t x, int32_t n) {
  const int32_t mask = (int32_t)(((uint32_t)1 << n) - 1);
  const int32_t threshold = (mask >> 1) + (x < 0);
  return (x >> n) + ((x & mask) > threshold);
}

/* x * multiplier * 2^(shift - 31), rounded after the multiplication and after the right shift.
 * multiplier is 0 or in [2^30, 2^31), shift in [-31, 30]. */
static inline int32_t utvm_requantize(int32_t x, int32_t multiplier, int32_t shift) {
  const int32_t left = shift > 0 ? shift : 0;
  const int32_t right = shift > 0 ? 0 : -shift;
  const int32_t high = utvm_mulhi_rounding(utvm_shift_left_wrapping(x, left), multiplier);
  return utvm_shift_right_rounding(high, right);
}

/* The same for a right shift by 1 <= shift <= 31. The high word is never INT32_MIN here, since
 * multiplier < 2^31, so subtracting one from a negative number cannot overflow; with it, halves go
 * away from zero. */
static inline int32_t utvm_requantize_right(int32_t x, int32_t multiplier, int32_t shift) {
  const int32_t high = (int32_t)(((int64_t)x * multiplier + ((int64_t)1 << 30)) >> 31);
  const int32_t away = high + (high >> 31);
  return ((away >> (shift - 1)) + 1) >> 1;
}

/* The rescale of the int64 accumulators behind int16 activations: a 16-bit multiplier, one
 * rounding, halves up. |x| < 2^47, shift in [-31, 14]. */
static inline int32_t utvm_requantize_wide(int64_t x, int32_t multiplier, int32_t shift) {
  const int32_t reduced = multiplier < 0x7FFF0000 ? (multiplier + (1 << 15)) >> 16 : 0x7FFF;
  const int32_t total = 15 - shift;
  return (int32_t)((x * reduced + ((int64_t)1 << (total - 1))) >> total);
}

/* The same by a double: see below. */
static inline int32_t utvm_requantize_double_any(int64_t x, int32_t high, int32_t low) {
  union {
    uint64_t bits;
    double value;
  } scale;
  double product;
  double fraction;
  int32_t whole;
  scale.bits = ((uint64_t)(uint32_t)high << 32) | (uint32_t)low;
  product = (double)x * scale.value;
  if (product >= 2147483647.0) {
    return INT32_MAX;
  }
  if (product <= -2147483648.0) {
    return INT32_MIN;
  }
  whole = (int32_t)product;
  fraction = product - (double)whole;
  return whole + (fraction >= 0.5) - (fraction <= -0.5);
}

/* x times the double whose high and low words are given, rounded to a double, then to the nearest
 * integer, halves away from zero, saturated. Cores compute doubles in software, so x of 32 bits and
 * usual scales go by integers: the product p has up to 85 bits, and the double nearest to it keeps
 * 53 of them. That only counts where it is the half that p is just below: no further than half of
 * the last bit kept. So that much is added before the half. */
static inline int32_t utvm_requantize_double(int64_t x, int32_t high, int32_t low) {
  const int32_t shift = 1075 - (high >> 20); /* the scale is 53 bits >> shift */
  const uint32_t top = ((uint32_t)high & 0xFFFFF) | 0x100000;
  uint32_t size;
  uint64_t lower;
  uint64_t upper;
  uint64_t whole;
  uint32_t word;
  int32_t dropped; /* bits of p beyond 53 */
  if (x != (int32_t)x || shift < 34 || shift > 95) {
    return utvm_requantize_double_any(x, high, low);
  }
  size = x < 0 ? 0U - (uint32_t)x : (uint32_t)x;
  lower = (uint64_t)size * (uint32_t)low;
  upper = (uint64_t)size * top + (lower >> 32);
  word = (uint32_t)(upper >> 32);
  if (word != 0) {
    dropped = 43 - (int32_t)__builtin_clz(word);
  } else {
    dropped = 11 - (int32_t)__builtin_clz((uint32_t)upper | 1);
  }
  lower &= 0xFFFFFFFF;
  if (dropped > 0) {
    lower += (uint32_t)1 << (dropped - 1);
  }
  whole = (upper + (lower >> 32) + ((uint64_t)1 << (shift - 33))) >> (shift - 32);
  if (x < 0) {
    return whole > INT32_MAX ? INT32_MIN : -(int32_t)whole;
  }
  return whole > INT32_MAX ? INT32_MAX : (int32_t)whole;
}

/* Leading zero bits of x read as unsigned; 32 for 0. */
static inline int32_t utvm_clz(int32_t x) {
  return x == 0 ? 32 : (int32_t)__builtin_clz((uint32_t)x);
}

/* 1 / (1 + x) for x in [0, 1), both in Q0.31: three Newton steps in Q2.29 on half the denominator,
 * each rounded as gemmlowp rounds them. x >= 0. */
static inline int32_t utvm_one_over_one_plus(int32_t x) {
  const int32_t half = (x >> 1) + ((int32_t)1 << 30);
  int32_t estimate = 1515870810 + utvm_mulhi_rounding(half, -1010580540); /* 48/17 - 32/17 half */
  for (int i = 0; i < 3; i++) {
    const int32_t error = ((int32_t)1 << 29) - utvm_mulhi_rounding(half, estimate);
    estimate += utvm_shift_left_saturating(utvm_mulhi_rounding(estimate, error), 2);
  }
  return utvm_shift_left_saturating(estimate, 1);
}

/* a / b towards zero, modulo 2^32; 0 where b is 0. */
static inline int32_t utvm_divide(int32_t a, int32_t b) {
  if (b == 0) {
    return 0;
  }
  return b == -1 ? (int32_t)(0u - (uint32_t)a) : a / b;
}

/* a / b * multiplier * 2^(shift - 31) by the reciprocal of b; 0 where b is 0. |a|, |b| < 2^16,
 * multiplier as in utvm_requantize. The last shift counts modulo 64 and 32, which is what the
 * reference kernels of TensorFlow Lite do on x86-64 where a quotient is far below one step. */
static inline int32_t utvm_divide_scaled(int32_t a, int32_t b, int32_t multiplier, int32_t shift) {
  if (b == 0) {
    return 0;
  }
  const int32_t numerator = b < 0 ? -a : a;
  const int32_t divisor = b < 0 ? -b : b;
  const int32_t zeros = utvm_clz(divisor);
  const int32_t fraction = utvm_shift_left_wrapping(divisor, zeros) & INT32_MAX;
  const int32_t headroom = utvm_clz(numerator ^ (numerator >> 31)) - 1;
  const int32_t left = utvm_shift_left_wrapping(numerator, headroom);
  const int32_t quotient = utvm_mulhi_rounding(left, utvm_one_over_one_plus(fraction));
  const int32_t scaled = utvm_mulhi_rounding(quotient, multiplier);
  const uint32_t right = (uint32_t)(31 - zeros + headroom - shift);
  const int32_t mask = (int32_t)(uint32_t)(((uint64_t)1 << (right & 63)) - 1);
  const int32_t threshold = (mask >> 1) + (scaled < 0);
  return (scaled >> (right & 31)) + ((scaled & mask) > threshold);
}

/* The step in [-128, 127] that stands for 0 when low to high are spread over the 255 steps of int8;
 * 0 where there is no range. It follows from either end; the one with the smaller terms is taken,
 * since its rounding errors are smaller. Only the range itself is rounded to float.
 * low <= 0 <= high; what is not a number gives -128. */
static inline int32_t utvm_dynamic_zero_point(float low, float high) {
  const float range = high - low;
  const double scale = (double)range / 255.0;
  double below;
  double above;
  double zero;
  if (range == 0.0f) {
    return 0;
  }
  below = -((double)low / scale); /* steps, not whole ones, from low to 0 */
  above = (double)high / scale;
  zero = 128.0 + below < 127.0 + above ? below - 128.0 : 127.0 - above;
  if (!(zero > -128.0)) {
    return -128;
  }
  if (zero >= 127.0) {
    return 127;
  }
  /* Halves away from zero: the remainder of truncation is exact. */
  const int32_t whole = (int32_t)zero;
  const double rest = zero - (double)whole;
  return whole + (rest >= 0.5) - (rest <= -0.5);
}

#endif
