/* Fails on purpose, as the first byte of the input says; tests/crt/test_startup.py. */
#include <stdint.h>

#include "utvm/platform.h"

/* Initialized and zero data that start-up must have prepared. */
static volatile uint32_t driver_data[3] = {1, 22, 333};
static volatile uint32_t driver_zero[3];

/* Far deeper than the stack; the volatile array keeps the frames real. */
static uint32_t driver_recurse(uint32_t depth) {
  volatile uint32_t frame[64];
  frame[depth % 64] = depth;
  return depth == 0 ? 0 : driver_recurse(depth - 1) + frame[depth % 64];
}

int main(void) {
  uint8_t action = 0;
  utvm_platform_init();
  (void)utvm_platform_read(&action, 1);
  switch (action) {
  case 'u': /* read of an address where nothing is */
    return (int)*(volatile uint32_t *)0xF0000000u;
  case 'i': /* undefined instruction */
#if defined(__riscv)
    __asm__ volatile("unimp");
#else
    __asm__ volatile("udf #7");
#endif
    return 0;
  case 's':
    return (int)driver_recurse(1000000u + driver_zero[0]);
  case '3':
    utvm_platform_exit(3);
    return 0;
  default:
    return (int)(driver_data[0] + driver_data[1] + driver_data[2] - 356 + driver_zero[1]);
  }
}
