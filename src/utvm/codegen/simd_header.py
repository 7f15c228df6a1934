"""``utvm/simd.h``: the named instructions of ``utvm.ir.isa`` as C functions.

In: the table of instructions. Out: the text of the header that lies in ``crt/include``. Where the
core has an instruction, its function is that instruction, elsewhere plain C with equal results;
tests run both. ``tools/write_simd_header.py`` writes it after a change of the table.
"""

from __future__ import annotations

from collections.abc import Iterable

from utvm.ir.isa.instruction import Instruction

_CONDITIONS = {
    "dsp": "defined(__ARM_FEATURE_DSP) && defined(__GNUC__)",
    "fpu": "defined(__ARM_FEATURE_FMA) && defined(__ARM_FP) && defined(__GNUC__)",
}
"""By feature of the target: when a compiler is building for it."""

_HEAD = """\
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
"""

_PORTABLE = """\
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
"""


def simd_header(instructions: Iterable[Instruction]) -> str:
    """The text of the header."""
    by_feature: dict[str, list[Instruction]] = {}
    for one in instructions:
        by_feature.setdefault(one.feature, []).append(one)
    parts = [_HEAD]
    for feature, many in by_feature.items():
        shared = [_PORTABLE] if feature == "dsp" else []
        parts += [f"#if {_CONDITIONS[feature]}\n", *map(_assembly, many)]
        parts += ["#else\n", *shared, *map(_portable, many), "#endif\n"]
    return "\n".join([*parts, "#endif\n"])


def _assembly(one: Instruction) -> str:
    """The function that is the instruction."""
    if one.dtype == "float32":
        return _float_assembly(one)
    places = {name: f"%{at + 1}" for at, name in enumerate("abc"[: len(one.operands)])}
    text = one.text.format(d="%0", **places)
    inputs = ", ".join(f'"r"({name})' for name in one.operands)
    return f"""\
{_prototype(one)} {{
  int32_t result;
  __asm__("{text}" : "=r"(result) : {inputs});
  return result;
}}
"""


def _float_assembly(one: Instruction) -> str:
    """The same in registers of the FPU; the accumulator is the result, too."""
    text = one.text.format(d="%0", a="%1", b="%2")
    return f"""\
{_prototype(one)} {{
  __asm__("{text}" : "+t"(acc) : "t"(a), "t"(b));
  return acc;
}}
"""


def _portable(one: Instruction) -> str:
    """The function in plain C."""
    if one.dtype == "float32":
        return f"{_prototype(one)} {{\n{one.c}}}\n"
    if one.c_lanes == 1:
        return f"{_prototype(one)} {{\n  return {one.c};\n}}\n"
    bits = 32 // one.c_lanes
    mask = hex((1 << bits) - 1)
    return f"""\
{_prototype(one)} {{
  uint32_t word = 0;
  for (int i = 0; i < {one.c_lanes}; i++) {{
    const int32_t lane = {one.c};
    word |= ((uint32_t)lane & {mask}u) << {bits} * i;
  }}
  return (int32_t)word;
}}
"""


def _prototype(one: Instruction) -> str:
    dtype = "float" if one.dtype == "float32" else "int32_t"
    parameters = ", ".join(f"{dtype} {name}" for name in one.operands)
    return f"static inline {dtype} utvm_{one.name}({parameters})"
