/* Adds up what it reads, with the arithmetic that needs help from the compiler's library on some
 * targets: 64-bit division, float and double; tests/device/test_toolchain.py. */
#include <stdint.h>

#include "utvm/platform.h"

static volatile int64_t hello_divisor = 3;
static uint8_t hello_bytes[4];

int main(void) {
  int64_t sum = 0;
  float product = 1.5f;
  double wide = 2.5;
  utvm_platform_init();
  while (utvm_platform_read(hello_bytes, 4) == UTVM_PLATFORM_READ) {
    sum = sum * 1000003 + hello_bytes[0];
    product = product * (float)hello_bytes[1] + 0.1f;
    wide = wide / hello_bytes[2] - 1.0;
  }
  sum = sum / hello_divisor + sum % 1000;
  (void)utvm_platform_write(&sum, sizeof sum);
  (void)utvm_platform_write(&product, sizeof product);
  (void)utvm_platform_write(&wide, sizeof wide);
  utvm_platform_exit(0);
  return 0;
}
