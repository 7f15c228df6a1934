/* Float functions in plain C99, for processors with and without a floating-point unit.
 *
 * Assumes IEEE 754 single precision with float arithmetic done in float, rounding to nearest, and a
 * compiler that keeps the order of operations and does not fuse them (-ffp-contract=off).
 * Methods: argument reduction by Cody and Waite, "Software Manual for the Elementary Functions"
 * (1980); the logarithm as in Tang's and fdlibm's analysis, by the series in f / (2 + f). The
 * polynomials are minimax fits made for these intervals; the comment beside each gives its error. */
#include "utvm/math.h"

#include <stdint.h>

#define MATH_SIGN 0x80000000u
#define MATH_INFINITY 0x7F800000u
#define MATH_WHOLE 8388608.0f /* 2^23: floats from here up are whole numbers */

/* ln 2 in two parts: the first has 15 bits, so that its product with a small integer is exact. */
#define MATH_LN2_HIGH 0x1.62e4p-1f
#define MATH_LN2_LOW 0x1.7f7d1cp-20f
#define MATH_LOG2_E 0x1.715476p+0f

typedef union {
  float value;
  uint32_t bits;
} math_float;

static uint32_t math_bits(float x) {
  math_float u;
  u.value = x;
  return u.bits;
}

static float math_from_bits(uint32_t bits) {
  math_float u;
  u.bits = bits;
  return u.value;
}

static float math_abs(float x) {
  return math_from_bits(math_bits(x) & ~MATH_SIGN);
}

/* The magnitude of `x` with the sign of `sign`. */
static float math_copysign(float x, float sign) {
  return math_from_bits((math_bits(x) & ~MATH_SIGN) | (math_bits(sign) & MATH_SIGN));
}

/* 2^k for -126 <= k <= 127. */
static float math_power_of_two(int32_t k) {
  return math_from_bits((uint32_t)(k + 127) << 23);
}

float utvm_expf(float x) {
  int32_t k;
  int32_t half;
  float r;
  float q;
  if (!(x < 88.7229f)) { /* e^88.7229 is above the largest float; NaN comes here too */
    return x > 0.0f ? math_from_bits(MATH_INFINITY) : x;
  }
  if (x < -103.9729f) { /* half of the smallest float */
    return 0.0f;
  }
  /* x = k ln 2 + r with |r| <= ln 2 / 2 */
  k = (int32_t)(x * MATH_LOG2_E + (x < 0.0f ? -0.5f : 0.5f));
  r = (x - (float)k * MATH_LN2_HIGH) - (float)k * MATH_LN2_LOW;
  /* e^r = 1 + r + r^2 q(r), error 2^-28 */
  q = 0x1.123be0p-7f + r * 0x1.6db4e6p-10f;
  q = 0x1.55545ep-5f + r * q;
  q = 0x1.55548ep-3f + r * q;
  q = 0.5f + r * q;
  q = 1.0f + (r + r * r * q);
  /* Two factors, because 2^k itself may be out of range where the result is not. */
  half = k / 2;
  return q * math_power_of_two(half) * math_power_of_two(k - half);
}

float utvm_logf(float x) {
  uint32_t bits = math_bits(x);
  int32_t k = 0;
  float f;
  float s;
  float z;
  float half_square;
  if (x != x || bits == MATH_INFINITY) {
    return x;
  }
  if ((bits & ~MATH_SIGN) == 0) {
    return math_from_bits(MATH_INFINITY | MATH_SIGN);
  }
  if ((bits & MATH_SIGN) != 0) {
    return math_from_bits(MATH_INFINITY | 0x400000u);
  }
  if (bits < 0x800000u) { /* subnormal */
    bits = math_bits(x * MATH_WHOLE);
    k = -23;
  }
  /* x = 2^k (1 + f) with 1 + f from sqrt(1/2) to sqrt(2): adding brings sqrt(1/2) to a power of 2 */
  bits += 0x3F800000u - 0x3F3504F3u;
  k += (int32_t)(bits >> 23) - 127;
  f = math_from_bits((bits & 0x7FFFFFu) + 0x3F3504F3u) - 1.0f;
  /* log(1 + f) = f - f^2/2 + s (f^2/2 + z p(z)), s = f / (2 + f), z = s^2; error of z p(z) 2^-36 */
  s = f / (2.0f + f);
  z = s * s;
  half_square = 0.5f * f * f;
  f = f -
      (half_square -
       (s * (half_square + z * (0x1.555554p-1f +
                                z * (0x1.999a7cp-2f + z * (0x1.2438a8p-2f + z * 0x1.e2fddap-3f)))) +
        (float)k * MATH_LN2_LOW));
  return f + (float)k * MATH_LN2_HIGH;
}

float utvm_tanhf(float x) {
  float a = math_abs(x);
  float z = x * x;
  if (!(a < 9.02f)) { /* from here on 1 is the nearest float; NaN comes here too */
    return x != x ? x : math_copysign(1.0f, x);
  }
  if (a >= 0.625f) {
    return math_copysign(1.0f - 2.0f / (utvm_expf(2.0f * a) + 1.0f), x);
  }
  if (a < 0x1p-12f) { /* the cube does not count; also keeps zero's sign and subnormals exact */
    return x;
  }
  /* tanh(x) = x + x z p(z), error 2^-28 */
  return x + x * (z * (-0x1.555534p-2f +
                       z * (0x1.110768p-3f +
                            z * (-0x1.b84446p-5f + z * (0x1.5256ccp-6f + z * -0x1.76abe6p-8f)))));
}

float utvm_logisticf(float x) {
  float e;
  if (x >= 0.0f) {
    return 1.0f / (1.0f + utvm_expf(-x));
  }
  e = utvm_expf(x); /* the form above would lose the small results */
  return e / (1.0f + e);
}

#if defined(__ARM_FP) && (__ARM_FP & 4) && !defined(__aarch64__)
float utvm_sqrtf(float x) {
  float root;
  __asm__("vsqrt.f32 %0, %1" : "=t"(root) : "t"(x));
  return root;
}
#else
/* The root of 48 bits of mantissa, digit by digit; the remainder decides the rounding. */
float utvm_sqrtf(float x) {
  uint32_t bits = math_bits(x);
  int32_t exponent = 0;
  uint64_t rest;
  uint64_t root = 0;
  uint64_t digit;
  if (x != x || bits == MATH_INFINITY || (bits & ~MATH_SIGN) == 0) {
    return x;
  }
  if ((bits & MATH_SIGN) != 0) {
    return math_from_bits(MATH_INFINITY | 0x400000u);
  }
  if (bits < 0x800000u) { /* subnormal */
    bits = math_bits(x * 0x1p24f);
    exponent = -24;
  }
  /* x = rest 2^(exponent - 48) with an even exponent, rest from 2^48 to 2^50 */
  exponent += (int32_t)(bits >> 23) - 127;
  rest = (uint64_t)((bits & 0x7FFFFFu) | 0x800000u) << 25;
  if ((exponent & 1) != 0) {
    rest <<= 1;
    exponent -= 1;
  }
  for (digit = (uint64_t)1 << 48; digit != 0; digit >>= 2) {
    if (rest >= root + digit) {
      rest -= root + digit;
      root = (root >> 1) + digit;
    } else {
      root >>= 1;
    }
  }
  /* root has 25 bits: one more than a float; a root is never exactly half-way between floats */
  root = (root + 1) >> 1;
  return math_from_bits(((uint32_t)(exponent / 2 + 126) << 23) + (uint32_t)root);
}
#endif

float utvm_roundf(float x) {
  float a = math_abs(x);
  float whole;
  if (!(a < MATH_WHOLE)) { /* whole, infinite or NaN */
    return x;
  }
  whole = (float)(int32_t)a;
  if (a - whole >= 0.5f) {
    whole += 1.0f;
  }
  return math_copysign(whole, x);
}

float utvm_rintf(float x) {
  float a = math_abs(x);
  if (!(a < MATH_WHOLE)) {
    return x;
  }
  return math_copysign((a + MATH_WHOLE) - MATH_WHOLE, x); /* the sum has no bits for fractions */
}

float utvm_floorf(float x) {
  float whole;
  if (!(math_abs(x) < MATH_WHOLE)) {
    return x;
  }
  whole = (float)(int32_t)x;
  if (whole > x) {
    whole -= 1.0f;
  }
  return math_copysign(whole, x);
}
