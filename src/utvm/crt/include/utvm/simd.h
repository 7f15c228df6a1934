/* Packed words: two halfwords or four bytes in one int32_t, and what Arm's DSP instructions do to
 * them; and fused multiply-add.
 *
 * The packed intrinsics of the loop IR as inline functions. Where the core has the instructions
 * (ARMv7E-M, ARMv8-M with DSP) each is one of them; elsewhere they are plain C with equal results.
 * A word holds the first element lowest: the cores are little-endian.
 *
 * Written by tools/write_simd_header.py from src/utvm/ir/isa; change it there. */
#ifndef UTVM_SIMD_H
#define UTVM_SIMD_H

#include <stdint.h>

/* Four bytes from any address, as one word. */
static inline int32_t utvm_load_word(const void *from) {
  int32_t word;
  __builtin_memcpy(&word, from, sizeof word);
  return word;
}

/* Four bytes to any address. */
static inline void utvm_store_word(void *to, int32_t word) {
  __builtin_memcpy(to, &word, sizeof word);
}

static inline int32_t utvm_low(int32_t x) {
  return (int16_t)(x & 0xffff);
}

static inline int32_t utvm_high(int32_t x) {
  return x >> 16;
}

static inline int32_t utvm_pair(int32_t bottom, int32_t top) {
  return (int32_t)(((uint32_t)bottom & 0xffffu) | (uint32_t)top << 16);
}

#if defined(__ARM_FEATURE_DSP) && defined(__GNUC__)

static inline int32_t utvm_smlabb(int32_t a, int32_t b, int32_t acc) {
  int32_t result;
  __asm__("smlabb %0, %1, %2, %3" : "=r"(result) : "r"(a), "r"(b), "r"(acc));
  return result;
}

static inline int32_t utvm_smlabt(int32_t a, int32_t b, int32_t acc) {
  int32_t result;
  __asm__("smlabt %0, %1, %2, %3" : "=r"(result) : "r"(a), "r"(b), "r"(acc));
  return result;
}

static inline int32_t utvm_smlatb(int32_t a, int32_t b, int32_t acc) {
  int32_t result;
  __asm__("smlatb %0, %1, %2, %3" : "=r"(result) : "r"(a), "r"(b), "r"(acc));
  return result;
}

static inline int32_t utvm_smlatt(int32_t a, int32_t b, int32_t acc) {
  int32_t result;
  __asm__("smlatt %0, %1, %2, %3" : "=r"(result) : "r"(a), "r"(b), "r"(acc));
  return result;
}

static inline int32_t utvm_smlad(int32_t a, int32_t b, int32_t acc) {
  int32_t result;
  __asm__("smlad %0, %1, %2, %3" : "=r"(result) : "r"(a), "r"(b), "r"(acc));
  return result;
}

static inline int32_t utvm_smladx(int32_t a, int32_t b, int32_t acc) {
  int32_t result;
  __asm__("smladx %0, %1, %2, %3" : "=r"(result) : "r"(a), "r"(b), "r"(acc));
  return result;
}

static inline int32_t utvm_smuad(int32_t a, int32_t b) {
  int32_t result;
  __asm__("smuad %0, %1, %2" : "=r"(result) : "r"(a), "r"(b));
  return result;
}

static inline int32_t utvm_smuadx(int32_t a, int32_t b) {
  int32_t result;
  __asm__("smuadx %0, %1, %2" : "=r"(result) : "r"(a), "r"(b));
  return result;
}

static inline int32_t utvm_smusd(int32_t a, int32_t b) {
  int32_t result;
  __asm__("smusd %0, %1, %2" : "=r"(result) : "r"(a), "r"(b));
  return result;
}

static inline int32_t utvm_smlsd(int32_t a, int32_t b, int32_t acc) {
  int32_t result;
  __asm__("smlsd %0, %1, %2, %3" : "=r"(result) : "r"(a), "r"(b), "r"(acc));
  return result;
}

static inline int32_t utvm_smmulr(int32_t a, int32_t b) {
  int32_t result;
  __asm__("smmulr %0, %1, %2" : "=r"(result) : "r"(a), "r"(b));
  return result;
}

static inline int32_t utvm_qadd(int32_t a, int32_t b) {
  int32_t result;
  __asm__("qadd %0, %1, %2" : "=r"(result) : "r"(a), "r"(b));
  return result;
}

static inline int32_t utvm_qsub(int32_t a, int32_t b) {
  int32_t result;
  __asm__("qsub %0, %1, %2" : "=r"(result) : "r"(a), "r"(b));
  return result;
}

static inline int32_t utvm_sxtb16(int32_t x) {
  int32_t result;
  __asm__("sxtb16 %0, %1" : "=r"(result) : "r"(x));
  return result;
}

static inline int32_t utvm_sxtb16_ror8(int32_t x) {
  int32_t result;
  __asm__("sxtb16 %0, %1, ror #8" : "=r"(result) : "r"(x));
  return result;
}

static inline int32_t utvm_uxtb16(int32_t x) {
  int32_t result;
  __asm__("uxtb16 %0, %1" : "=r"(result) : "r"(x));
  return result;
}

static inline int32_t utvm_uxtb16_ror8(int32_t x) {
  int32_t result;
  __asm__("uxtb16 %0, %1, ror #8" : "=r"(result) : "r"(x));
  return result;
}

static inline int32_t utvm_sxtab16(int32_t a, int32_t x) {
  int32_t result;
  __asm__("sxtab16 %0, %1, %2" : "=r"(result) : "r"(a), "r"(x));
  return result;
}

static inline int32_t utvm_sxtab16_ror8(int32_t a, int32_t x) {
  int32_t result;
  __asm__("sxtab16 %0, %1, %2, ror #8" : "=r"(result) : "r"(a), "r"(x));
  return result;
}

static inline int32_t utvm_uxtab16(int32_t a, int32_t x) {
  int32_t result;
  __asm__("uxtab16 %0, %1, %2" : "=r"(result) : "r"(a), "r"(x));
  return result;
}

static inline int32_t utvm_uxtab16_ror8(int32_t a, int32_t x) {
  int32_t result;
  __asm__("uxtab16 %0, %1, %2, ror #8" : "=r"(result) : "r"(a), "r"(x));
  return result;
}

static inline int32_t utvm_pkhbt(int32_t a, int32_t b) {
  int32_t result;
  __asm__("pkhbt %0, %1, %2, lsl #16" : "=r"(result) : "r"(a), "r"(b));
  return result;
}

static inline int32_t utvm_pkhtb(int32_t a, int32_t b) {
  int32_t result;
  __asm__("pkhtb %0, %1, %2, asr #16" : "=r"(result) : "r"(a), "r"(b));
  return result;
}

static inline int32_t utvm_sadd16(int32_t a, int32_t b) {
  int32_t result;
  __asm__("sadd16 %0, %1, %2" : "=r"(result) : "r"(a), "r"(b));
  return result;
}

static inline int32_t utvm_ssub16(int32_t a, int32_t b) {
  int32_t result;
  __asm__("ssub16 %0, %1, %2" : "=r"(result) : "r"(a), "r"(b));
  return result;
}

static inline int32_t utvm_sadd8(int32_t a, int32_t b) {
  int32_t result;
  __asm__("sadd8 %0, %1, %2" : "=r"(result) : "r"(a), "r"(b));
  return result;
}

static inline int32_t utvm_ssub8(int32_t a, int32_t b) {
  int32_t result;
  __asm__("ssub8 %0, %1, %2" : "=r"(result) : "r"(a), "r"(b));
  return result;
}

static inline int32_t utvm_shadd16(int32_t a, int32_t b) {
  int32_t result;
  __asm__("shadd16 %0, %1, %2" : "=r"(result) : "r"(a), "r"(b));
  return result;
}

static inline int32_t utvm_qadd16(int32_t a, int32_t b) {
  int32_t result;
  __asm__("qadd16 %0, %1, %2" : "=r"(result) : "r"(a), "r"(b));
  return result;
}

static inline int32_t utvm_qsub16(int32_t a, int32_t b) {
  int32_t result;
  __asm__("qsub16 %0, %1, %2" : "=r"(result) : "r"(a), "r"(b));
  return result;
}

static inline int32_t utvm_qadd8(int32_t a, int32_t b) {
  int32_t result;
  __asm__("qadd8 %0, %1, %2" : "=r"(result) : "r"(a), "r"(b));
  return result;
}

static inline int32_t utvm_qsub8(int32_t a, int32_t b) {
  int32_t result;
  __asm__("qsub8 %0, %1, %2" : "=r"(result) : "r"(a), "r"(b));
  return result;
}

static inline int32_t utvm_uqadd8(int32_t a, int32_t b) {
  int32_t result;
  __asm__("uqadd8 %0, %1, %2" : "=r"(result) : "r"(a), "r"(b));
  return result;
}

static inline int32_t utvm_uqsub8(int32_t a, int32_t b) {
  int32_t result;
  __asm__("uqsub8 %0, %1, %2" : "=r"(result) : "r"(a), "r"(b));
  return result;
}

static inline int32_t utvm_ssat16_8(int32_t x) {
  int32_t result;
  __asm__("ssat16 %0, #8, %1" : "=r"(result) : "r"(x));
  return result;
}

static inline int32_t utvm_usat16_8(int32_t x) {
  int32_t result;
  __asm__("usat16 %0, #8, %1" : "=r"(result) : "r"(x));
  return result;
}

#else

/* Sums are modulo 2^32, as the instructions make them. */
static inline int32_t utvm_wrapping_sum(int32_t a, int32_t b) {
  return (int32_t)((uint32_t)a + (uint32_t)b);
}

static inline int32_t utvm_half(int32_t x, int i) {
  return (int16_t)(x >> 16 * i & 0xffff);
}

static inline int32_t utvm_byte(int32_t x, int i) {
  return (int8_t)(x >> 8 * i & 0xff);
}

static inline int32_t utvm_ubyte(int32_t x, int i) {
  return x >> 8 * i & 0xff;
}

static inline int32_t utvm_clamped(int32_t x, int32_t low, int32_t high) {
  return x < low ? low : x > high ? high : x;
}

static inline int32_t utvm_saturated(int64_t x) {
  return x < INT32_MIN ? INT32_MIN : x > INT32_MAX ? INT32_MAX : (int32_t)x;
}

static inline int32_t utvm_smlabb(int32_t a, int32_t b, int32_t acc) {
  return utvm_wrapping_sum(acc, utvm_low(a) * utvm_low(b));
}

static inline int32_t utvm_smlabt(int32_t a, int32_t b, int32_t acc) {
  return utvm_wrapping_sum(acc, utvm_low(a) * utvm_high(b));
}

static inline int32_t utvm_smlatb(int32_t a, int32_t b, int32_t acc) {
  return utvm_wrapping_sum(acc, utvm_high(a) * utvm_low(b));
}

static inline int32_t utvm_smlatt(int32_t a, int32_t b, int32_t acc) {
  return utvm_wrapping_sum(acc, utvm_high(a) * utvm_high(b));
}

static inline int32_t utvm_smlad(int32_t a, int32_t b, int32_t acc) {
  return utvm_smlatt(a, b, utvm_smlabb(a, b, acc));
}

static inline int32_t utvm_smladx(int32_t a, int32_t b, int32_t acc) {
  return utvm_smlatb(a, b, utvm_smlabt(a, b, acc));
}

static inline int32_t utvm_smuad(int32_t a, int32_t b) {
  return utvm_smlad(a, b, 0);
}

static inline int32_t utvm_smuadx(int32_t a, int32_t b) {
  return utvm_smladx(a, b, 0);
}

static inline int32_t utvm_smusd(int32_t a, int32_t b) {
  return utvm_low(a) * utvm_low(b) - utvm_high(a) * utvm_high(b);
}

static inline int32_t utvm_smlsd(int32_t a, int32_t b, int32_t acc) {
  return utvm_wrapping_sum(acc, utvm_smusd(a, b));
}

static inline int32_t utvm_smmulr(int32_t a, int32_t b) {
  return (int32_t)(((int64_t)a * b + ((int64_t)1 << 31)) >> 32);
}

static inline int32_t utvm_qadd(int32_t a, int32_t b) {
  return utvm_saturated((int64_t)a + b);
}

static inline int32_t utvm_qsub(int32_t a, int32_t b) {
  return utvm_saturated((int64_t)a - b);
}

static inline int32_t utvm_sxtb16(int32_t x) {
  return utvm_pair((int8_t)(x & 0xff), (int8_t)(x >> 16 & 0xff));
}

static inline int32_t utvm_sxtb16_ror8(int32_t x) {
  return utvm_pair((int8_t)(x >> 8 & 0xff), x >> 24);
}

static inline int32_t utvm_uxtb16(int32_t x) {
  return x & 0x00ff00ff;
}

static inline int32_t utvm_uxtb16_ror8(int32_t x) {
  return x >> 8 & 0x00ff00ff;
}

static inline int32_t utvm_sxtab16(int32_t a, int32_t x) {
  uint32_t word = 0;
  for (int i = 0; i < 2; i++) {
    const int32_t lane = utvm_half(a, i) + utvm_byte(x, 2 * i);
    word |= ((uint32_t)lane & 0xffffu) << 16 * i;
  }
  return (int32_t)word;
}

static inline int32_t utvm_sxtab16_ror8(int32_t a, int32_t x) {
  uint32_t word = 0;
  for (int i = 0; i < 2; i++) {
    const int32_t lane = utvm_half(a, i) + utvm_byte(x, 2 * i + 1);
    word |= ((uint32_t)lane & 0xffffu) << 16 * i;
  }
  return (int32_t)word;
}

static inline int32_t utvm_uxtab16(int32_t a, int32_t x) {
  uint32_t word = 0;
  for (int i = 0; i < 2; i++) {
    const int32_t lane = utvm_half(a, i) + utvm_ubyte(x, 2 * i);
    word |= ((uint32_t)lane & 0xffffu) << 16 * i;
  }
  return (int32_t)word;
}

static inline int32_t utvm_uxtab16_ror8(int32_t a, int32_t x) {
  uint32_t word = 0;
  for (int i = 0; i < 2; i++) {
    const int32_t lane = utvm_half(a, i) + utvm_ubyte(x, 2 * i + 1);
    word |= ((uint32_t)lane & 0xffffu) << 16 * i;
  }
  return (int32_t)word;
}

static inline int32_t utvm_pkhbt(int32_t a, int32_t b) {
  return utvm_pair(a, b);
}

static inline int32_t utvm_pkhtb(int32_t a, int32_t b) {
  return utvm_pair(utvm_high(b), utvm_high(a));
}

static inline int32_t utvm_sadd16(int32_t a, int32_t b) {
  return utvm_pair(utvm_low(a) + utvm_low(b), utvm_high(a) + utvm_high(b));
}

static inline int32_t utvm_ssub16(int32_t a, int32_t b) {
  return utvm_pair(utvm_low(a) - utvm_low(b), utvm_high(a) - utvm_high(b));
}

static inline int32_t utvm_sadd8(int32_t a, int32_t b) {
  uint32_t word = 0;
  for (int i = 0; i < 4; i++) {
    const int32_t lane = utvm_byte(a, i) + utvm_byte(b, i);
    word |= ((uint32_t)lane & 0xffu) << 8 * i;
  }
  return (int32_t)word;
}

static inline int32_t utvm_ssub8(int32_t a, int32_t b) {
  uint32_t word = 0;
  for (int i = 0; i < 4; i++) {
    const int32_t lane = utvm_byte(a, i) - utvm_byte(b, i);
    word |= ((uint32_t)lane & 0xffu) << 8 * i;
  }
  return (int32_t)word;
}

static inline int32_t utvm_shadd16(int32_t a, int32_t b) {
  uint32_t word = 0;
  for (int i = 0; i < 2; i++) {
    const int32_t lane = (utvm_half(a, i) + utvm_half(b, i)) >> 1;
    word |= ((uint32_t)lane & 0xffffu) << 16 * i;
  }
  return (int32_t)word;
}

static inline int32_t utvm_qadd16(int32_t a, int32_t b) {
  uint32_t word = 0;
  for (int i = 0; i < 2; i++) {
    const int32_t lane = utvm_clamped(utvm_half(a, i) + utvm_half(b, i), -32768, 32767);
    word |= ((uint32_t)lane & 0xffffu) << 16 * i;
  }
  return (int32_t)word;
}

static inline int32_t utvm_qsub16(int32_t a, int32_t b) {
  uint32_t word = 0;
  for (int i = 0; i < 2; i++) {
    const int32_t lane = utvm_clamped(utvm_half(a, i) - utvm_half(b, i), -32768, 32767);
    word |= ((uint32_t)lane & 0xffffu) << 16 * i;
  }
  return (int32_t)word;
}

static inline int32_t utvm_qadd8(int32_t a, int32_t b) {
  uint32_t word = 0;
  for (int i = 0; i < 4; i++) {
    const int32_t lane = utvm_clamped(utvm_byte(a, i) + utvm_byte(b, i), -128, 127);
    word |= ((uint32_t)lane & 0xffu) << 8 * i;
  }
  return (int32_t)word;
}

static inline int32_t utvm_qsub8(int32_t a, int32_t b) {
  uint32_t word = 0;
  for (int i = 0; i < 4; i++) {
    const int32_t lane = utvm_clamped(utvm_byte(a, i) - utvm_byte(b, i), -128, 127);
    word |= ((uint32_t)lane & 0xffu) << 8 * i;
  }
  return (int32_t)word;
}

static inline int32_t utvm_uqadd8(int32_t a, int32_t b) {
  uint32_t word = 0;
  for (int i = 0; i < 4; i++) {
    const int32_t lane = utvm_clamped(utvm_ubyte(a, i) + utvm_ubyte(b, i), 0, 255);
    word |= ((uint32_t)lane & 0xffu) << 8 * i;
  }
  return (int32_t)word;
}

static inline int32_t utvm_uqsub8(int32_t a, int32_t b) {
  uint32_t word = 0;
  for (int i = 0; i < 4; i++) {
    const int32_t lane = utvm_clamped(utvm_ubyte(a, i) - utvm_ubyte(b, i), 0, 255);
    word |= ((uint32_t)lane & 0xffu) << 8 * i;
  }
  return (int32_t)word;
}

static inline int32_t utvm_ssat16_8(int32_t x) {
  uint32_t word = 0;
  for (int i = 0; i < 2; i++) {
    const int32_t lane = utvm_clamped(utvm_half(x, i), -128, 127);
    word |= ((uint32_t)lane & 0xffffu) << 16 * i;
  }
  return (int32_t)word;
}

static inline int32_t utvm_usat16_8(int32_t x) {
  uint32_t word = 0;
  for (int i = 0; i < 2; i++) {
    const int32_t lane = utvm_clamped(utvm_half(x, i), 0, 255);
    word |= ((uint32_t)lane & 0xffffu) << 16 * i;
  }
  return (int32_t)word;
}

#endif

#if defined(__ARM_FEATURE_FMA) && defined(__ARM_FP) && defined(__GNUC__)

static inline float utvm_fma(float a, float b, float acc) {
  __asm__("vfma.f32 %0, %1, %2" : "+t"(acc) : "t"(a), "t"(b));
  return acc;
}

#else

static inline float utvm_fma(float a, float b, float acc) {
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
}

#endif

#endif
