/* Packed words: two halfwords in one int32_t, and what Arm's DSP instructions do to them.
 *
 * The packed intrinsics of the loop IR as inline functions. Where the core has the instructions
 * (ARMv7E-M, ARMv8-M with DSP) each is one of them; elsewhere they are plain C with equal results.
 * A word holds the first element lowest: the cores are little-endian. */
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

#define UTVM_SIMD_3(name, instruction)                                                \
  static inline int32_t utvm_##name(int32_t a, int32_t b, int32_t acc) {              \
    int32_t result;                                                                   \
    __asm__(instruction " %0, %1, %2, %3" : "=r"(result) : "r"(a), "r"(b), "r"(acc)); \
    return result;                                                                    \
  }
#define UTVM_SIMD_2(name, instruction, shift)                                 \
  static inline int32_t utvm_##name(int32_t a, int32_t b) {                   \
    int32_t result;                                                           \
    __asm__(instruction " %0, %1, %2" shift : "=r"(result) : "r"(a), "r"(b)); \
    return result;                                                            \
  }
#define UTVM_SIMD_1(name, instruction, rotation)                     \
  static inline int32_t utvm_##name(int32_t x) {                     \
    int32_t result;                                                  \
    __asm__(instruction " %0, %1" rotation : "=r"(result) : "r"(x)); \
    return result;                                                   \
  }

UTVM_SIMD_3(smlad, "smlad")
UTVM_SIMD_3(smladx, "smladx")
UTVM_SIMD_3(smlabb, "smlabb")
UTVM_SIMD_3(smlabt, "smlabt")
UTVM_SIMD_3(smlatb, "smlatb")
UTVM_SIMD_3(smlatt, "smlatt")
UTVM_SIMD_2(smuad, "smuad", "")
UTVM_SIMD_2(pkhbt, "pkhbt", ", lsl #16")
UTVM_SIMD_2(pkhtb, "pkhtb", ", asr #16")
UTVM_SIMD_2(sadd16, "sadd16", "")
UTVM_SIMD_2(ssub16, "ssub16", "")
UTVM_SIMD_1(sxtb16, "sxtb16", "")
UTVM_SIMD_1(sxtb16_ror8, "sxtb16", ", ror #8")
UTVM_SIMD_1(uxtb16, "uxtb16", "")
UTVM_SIMD_1(uxtb16_ror8, "uxtb16", ", ror #8")

#else

/* Sums are modulo 2^32, as the instructions make them. */
static inline int32_t utvm_wrapping_sum(int32_t a, int32_t b) {
  return (int32_t)((uint32_t)a + (uint32_t)b);
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

#endif

#endif
