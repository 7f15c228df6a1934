/* The operators of tests/rpc, and some that write code or stack, as functions that a host calls. */
#include "../rpc/operators.h"

#define PARAMETERS                                                                        \
  TVMValue *args, int *type_codes, int num_args, TVMValue *ret_value, int *ret_type_code, \
      void *resource_handle
#define UNUSED                                                                        \
  (void)args, (void)type_codes, (void)num_args, (void)ret_value, (void)ret_type_code, \
      (void)resource_handle

/* Counts its calls in a variable: shows what a reset does to memory. */
int32_t count(PARAMETERS);
int32_t count(PARAMETERS) {
  static uint32_t calls = 5;
  static uint32_t cleared;
  uint32_t *out = TVMBackendTensorData(args, 0);
  UNUSED;
  out[0] = calls++;
  out[1] = cleared++;
  return TVM_OK;
}

/* Writes over the code of `count`, then faults. */
int32_t spoil(PARAMETERS);
int32_t spoil(PARAMETERS) {
  uint16_t *code = (uint16_t *)((uintptr_t)count & ~(uintptr_t)1u);
  int i;
  UNUSED;
  for (i = 0; i < 8; i++) {
    code[i] = 0xDEDE;
  }
  __builtin_trap();
}

/* Waits for the number of cycles (about) that its tensor holds. */
int32_t spin(PARAMETERS);
int32_t spin(PARAMETERS) {
  volatile uint32_t left = *(uint32_t *)TVMBackendTensorData(args, 0);
  UNUSED;
  while (left > 0) {
    left--;
  }
  return TVM_OK;
}

/* Divides by what its tensor holds, with floats where there are some. */
int32_t divide(PARAMETERS);
int32_t divide(PARAMETERS) {
  float *data = TVMBackendTensorData(args, 0);
  UNUSED;
  data[1] = 1.0f / data[0];
  return TVM_OK;
}

extern const TVMBackendPackedCFunc test_functions[];
const TVMBackendPackedCFunc test_functions[] = {
    increment,  refuse,   exhaust, crash, hang,  jump, undefined,
    breakpoint, overflow, spend,   count, spoil, spin, divide,
};
