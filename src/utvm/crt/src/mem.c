/* memcpy, memmove, memset and memcmp for devices without a C library.
 *
 * Copies align the destination, move blocks of four words (compilers make LDM and STM of them),
 * then words, then bytes. A source that is not aligned with the destination is read by unaligned
 * words where the processor allows it, else by bytes. All functions are exact for any address and
 * size; none reads or writes a byte outside of its arguments. */
#include "utvm/mem.h"

#include <stdint.h>

/* The compiler must not turn the loops below back into calls of the functions they implement, nor
 * unroll them: most copies are short, and the code should be, too. */
#if defined(__clang__)
#define MEM_NO_IDIOMS __attribute__((no_builtin("memcpy", "memmove", "memset", "memcmp")))
#define MEM_LOOP _Pragma("clang loop unroll(disable)")
#elif defined(__GNUC__)
#define MEM_NO_IDIOMS __attribute__((optimize("no-tree-loop-distribute-patterns")))
#define MEM_LOOP
#else
#define MEM_NO_IDIOMS
#define MEM_LOOP
#endif

/* Words that may alias any object, and words at any address. */
typedef uint32_t __attribute__((may_alias)) mem_word;
typedef struct {
  uint32_t words[4];
} __attribute__((may_alias)) mem_block;
typedef struct {
  uint32_t word;
} __attribute__((packed, may_alias)) mem_unaligned;

static uintptr_t mem_offset(const void *address) {
  return (uintptr_t)address & 3u;
}

MEM_NO_IDIOMS
void *memcpy(void *restrict to, const void *restrict from, size_t bytes) {
  uint8_t *d = to;
  const uint8_t *s = from;
  if (bytes >= 8) {
    MEM_LOOP
    while (mem_offset(d) != 0) {
      *d++ = *s++;
      bytes--;
    }
    if (mem_offset(s) == 0) {
      MEM_LOOP
      for (; bytes >= 16; bytes -= 16, d += 16, s += 16) {
        *(mem_block *)(void *)d = *(const mem_block *)(const void *)s;
      }
      MEM_LOOP
      for (; bytes >= 4; bytes -= 4, d += 4, s += 4) {
        *(mem_word *)(void *)d = *(const mem_word *)(const void *)s;
      }
    }
#if defined(__ARM_FEATURE_UNALIGNED)
    MEM_LOOP
    for (; bytes >= 4; bytes -= 4, d += 4, s += 4) {
      *(mem_word *)(void *)d = ((const mem_unaligned *)(const void *)s)->word;
    }
#endif
  }
  MEM_LOOP
  while (bytes-- > 0) {
    *d++ = *s++;
  }
  return to;
}

/* Copies from the last byte to the first, for a destination that overlaps the end of the source. */
MEM_NO_IDIOMS
static void mem_copy_down(uint8_t *d, const uint8_t *s, size_t bytes) {
  d += bytes;
  s += bytes;
  if (bytes >= 8 && mem_offset(d) == mem_offset(s)) {
    MEM_LOOP
    while (mem_offset(d) != 0) {
      *--d = *--s;
      bytes--;
    }
    MEM_LOOP
    for (; bytes >= 4; bytes -= 4) {
      d -= 4;
      s -= 4;
      *(mem_word *)(void *)d = *(const mem_word *)(const void *)s;
    }
  }
  MEM_LOOP
  while (bytes-- > 0) {
    *--d = *--s;
  }
}

MEM_NO_IDIOMS
void *memmove(void *to, const void *from, size_t bytes) {
  uintptr_t ahead = (uintptr_t)to - (uintptr_t)from;
  uint8_t *d = to;
  const uint8_t *s = from;
  if (ahead < bytes) {
    mem_copy_down(d, s, bytes);
    return to;
  }
  if ((uintptr_t)from - (uintptr_t)to >= bytes) {
    return memcpy(to, from, bytes);
  }
  /* The destination overlaps the start of the source: words upwards, one at a time. */
  if (bytes >= 8 && mem_offset(d) == mem_offset(s)) {
    MEM_LOOP
    while (mem_offset(d) != 0) {
      *d++ = *s++;
      bytes--;
    }
    MEM_LOOP
    for (; bytes >= 4; bytes -= 4, d += 4, s += 4) {
      *(mem_word *)(void *)d = *(const mem_word *)(const void *)s;
    }
  }
  MEM_LOOP
  while (bytes-- > 0) {
    *d++ = *s++;
  }
  return to;
}

MEM_NO_IDIOMS
void *memset(void *to, int value, size_t bytes) {
  uint8_t *d = to;
  uint8_t byte = (uint8_t)value;
  if (bytes >= 8) {
    uint32_t word = byte * 0x01010101u;
    mem_block block = {{word, word, word, word}};
    MEM_LOOP
    while (mem_offset(d) != 0) {
      *d++ = byte;
      bytes--;
    }
    MEM_LOOP
    for (; bytes >= 16; bytes -= 16, d += 16) {
      *(mem_block *)(void *)d = block;
    }
    MEM_LOOP
    for (; bytes >= 4; bytes -= 4, d += 4) {
      *(mem_word *)(void *)d = word;
    }
  }
  MEM_LOOP
  while (bytes-- > 0) {
    *d++ = byte;
  }
  return to;
}

MEM_NO_IDIOMS
int memcmp(const void *a, const void *b, size_t bytes) {
  const uint8_t *p = a;
  const uint8_t *q = b;
  if (mem_offset(p) == 0 && mem_offset(q) == 0) {
    MEM_LOOP
    while (bytes >= 4 && *(const mem_word *)(const void *)p == *(const mem_word *)(const void *)q) {
      p += 4;
      q += 4;
      bytes -= 4;
    }
  }
  MEM_LOOP
  for (; bytes > 0; bytes--, p++, q++) {
    if (*p != *q) {
      return *p < *q ? -1 : 1;
    }
  }
  return 0;
}

#if defined(__ARM_EABI__)
/* The variants for aligned addresses are the same functions. */
#define MEM_ALIAS(name, function) __asm__(".global " #name "\n\t.thumb_set " #name ", " #function)

MEM_ALIAS(__aeabi_memcpy, memcpy);
MEM_ALIAS(__aeabi_memcpy4, memcpy);
MEM_ALIAS(__aeabi_memcpy8, memcpy);
MEM_ALIAS(__aeabi_memmove, memmove);
MEM_ALIAS(__aeabi_memmove4, memmove);
MEM_ALIAS(__aeabi_memmove8, memmove);
MEM_ALIAS(__aeabi_memset4, __aeabi_memset);
MEM_ALIAS(__aeabi_memset8, __aeabi_memset);
MEM_ALIAS(__aeabi_memclr4, __aeabi_memclr);
MEM_ALIAS(__aeabi_memclr8, __aeabi_memclr);

/* Size and value are in the other order than those of memset. */
void __aeabi_memset(void *to, size_t bytes, int value);
void __aeabi_memclr(void *to, size_t bytes);

MEM_NO_IDIOMS
void __aeabi_memset(void *to, size_t bytes, int value) {
  (void)memset(to, value, bytes);
}

MEM_NO_IDIOMS
void __aeabi_memclr(void *to, size_t bytes) {
  (void)memset(to, 0, bytes);
}
#endif
