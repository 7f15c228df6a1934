/* Evaluates one float function on every float of the input stream; tests/crt/test_math.py. */
#include <stdint.h>

#include "utvm/math.h"
#include "utvm/platform.h"

typedef float (*driver_function)(float);

static const driver_function driver_functions[] = {
    utvm_expf,  utvm_logf,   utvm_tanhf, utvm_logisticf,
    utvm_sqrtf, utvm_roundf, utvm_rintf, utvm_floorf,
};

static float driver_values[1024];

/* The stream: the function's number, then blocks of 1024 floats. */
int main(void) {
  uint32_t function;
  uint32_t i;
  int status;
  utvm_platform_init();
  if (utvm_platform_read(&function, sizeof function) != UTVM_PLATFORM_READ || function > 7) {
    utvm_platform_exit(2);
  }
  while ((status = utvm_platform_read(driver_values, sizeof driver_values)) == UTVM_PLATFORM_READ) {
    for (i = 0; i < 1024; i++) {
      driver_values[i] = driver_functions[function](driver_values[i]);
    }
    if (utvm_platform_write(driver_values, sizeof driver_values) != UTVM_PLATFORM_OK) {
      utvm_platform_exit(3);
    }
  }
  utvm_platform_exit(status == UTVM_PLATFORM_END ? 0 : 4);
  return 0;
}
