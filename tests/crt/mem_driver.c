/* Tries the memory functions at every alignment and many sizes; tests/crt/test_mem.py.
 *
 * On a device these are the ones that the program is linked with. On a host, where the C library's
 * would be, the source is compiled under other names. */
#include <stddef.h>
#include <stdint.h>

#include "utvm/platform.h"

#if !defined(__ARM_EABI__)
#define memcpy driver_memcpy
#define memmove driver_memmove
#define memset driver_memset
#define memcmp driver_memcmp
#include "../../src/utvm/crt/src/mem.c"
#else
#include "utvm/mem.h"
#endif

#define DRIVER_BYTES 128u
#define DRIVER_SIZES 72u

static uint8_t driver_buffer[2 * DRIVER_BYTES] __attribute__((aligned(8)));
static uint8_t driver_expected[2 * DRIVER_BYTES];
static uint32_t driver_checks;

static void driver_fill(void) {
  uint32_t i;
  for (i = 0; i < 2 * DRIVER_BYTES; i++) {
    driver_buffer[i] = driver_expected[i] = (uint8_t)(i * 37u + 11u);
  }
}

static void driver_check(const void *returned, const void *wanted, const char *what) {
  uint32_t i;
  int same = returned == wanted;
  for (i = 0; i < 2 * DRIVER_BYTES; i++) {
    same = same && driver_buffer[i] == driver_expected[i];
  }
  if (!same) {
    utvm_platform_log(what);
    utvm_platform_exit(1);
  }
  driver_checks++;
}

/* `to` and `from` are offsets in the buffer; the copy may overlap when `moving`. */
static void driver_copy(uint32_t to, uint32_t from, uint32_t bytes, int moving) {
  uint8_t source[DRIVER_BYTES];
  void *volatile d = driver_buffer + to; /* volatile: the compiler must not see through */
  void *volatile s = driver_buffer + from;
  uint32_t i;
  driver_fill();
  for (i = 0; i < bytes; i++) {
    source[i] = driver_buffer[from + i];
  }
  for (i = 0; i < bytes; i++) {
    driver_expected[to + i] = source[i];
  }
  if (moving) {
    driver_check(memmove(d, s, bytes), d, "memmove");
  } else {
    driver_check(memcpy(d, s, bytes), d, "memcpy");
  }
}

static void driver_set(uint32_t to, uint32_t bytes) {
  void *volatile d = driver_buffer + to;
  uint32_t i;
  driver_fill();
  for (i = 0; i < bytes; i++) {
    driver_expected[to + i] = 0xA5;
  }
  driver_check(memset(d, 0x1A5, bytes), d, "memset");
}

/* Two equal texts at two alignments, then one byte of the first made larger, then smaller. */
static void driver_compare(uint32_t a, uint32_t b, uint32_t bytes) {
  uint8_t *volatile p = driver_buffer + a;
  uint8_t *volatile q = driver_buffer + DRIVER_BYTES + b;
  uint32_t i;
  for (i = 0; i < bytes; i++) {
    p[i] = q[i] = (uint8_t)(0x70u + i);
  }
  int wrong = memcmp(p, q, bytes) != 0;
  for (i = 0; i < bytes; i++) {
    p[i] = 0xFF;
    wrong = wrong || memcmp(p, q, bytes) <= 0;
    p[i] = 0;
    wrong = wrong || memcmp(p, q, bytes) >= 0;
    p[i] = q[i];
  }
  if (wrong) {
    utvm_platform_log("memcmp");
    utvm_platform_exit(1);
  }
  driver_checks++;
}

int main(void) {
  uint32_t a;
  uint32_t b;
  uint32_t bytes;
  utvm_platform_init();
  for (bytes = 0; bytes < DRIVER_SIZES; bytes++) {
    for (a = 0; a < 5; a++) {
      driver_set(a, bytes);
      for (b = 0; b < 5; b++) {
        driver_copy(a, DRIVER_BYTES + b, bytes, 0);
        driver_copy(8 + a, 8 + b, bytes, 1);
        driver_copy(8 + a, 16 + b, bytes, 1);
        driver_copy(24 + a, 16 + b, bytes, 1);
        driver_compare(a, b, bytes);
      }
    }
  }
  utvm_platform_exit(utvm_platform_write(&driver_checks, 4) == UTVM_PLATFORM_OK ? 0 : 2);
  return 0;
}
