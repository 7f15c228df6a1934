/* The operators that the tests' RPC servers have: small, and with every kind of ending. */
#ifndef TESTS_RPC_OPERATORS_H
#define TESTS_RPC_OPERATORS_H

#include "utvm/runtime.h"

/* Adds 1 to each of the 4 bytes of its tensor: calls can be counted. */
static int32_t increment(TVMValue *args, int *type_codes, int num_args, TVMValue *ret_value,
                         int *ret_type_code, void *resource_handle) {
  static const uint32_t bytes[] = {4};
  const int32_t status = TVMBackendCheckTensors(args, type_codes, num_args, bytes, 1);
  uint8_t *data;
  int i;
  (void)ret_value;
  (void)ret_type_code;
  (void)resource_handle;
  if (status != TVM_OK) {
    return status;
  }
  data = TVMBackendTensorData(args, 0);
  for (i = 0; i < 4; i++) {
    data[i]++;
  }
  return TVM_OK;
}

/* Always fails, and says so in the log. */
static int32_t refuse(TVMValue *args, int *type_codes, int num_args, TVMValue *ret_value,
                      int *ret_type_code, void *resource_handle) {
  const TVMRuntime *runtime = resource_handle;
  (void)args;
  (void)type_codes;
  (void)num_args;
  (void)ret_value;
  (void)ret_type_code;
  runtime->config.log(runtime->config.log_context, TVM_ERROR_WORKSPACE, "refuse", 6);
  return TVM_ERROR_WORKSPACE;
}

/* Takes all workspace that there is, and fails. */
static int32_t exhaust(TVMValue *args, int *type_codes, int num_args, TVMValue *ret_value,
                       int *ret_type_code, void *resource_handle) {
  void *workspace;
  (void)args;
  (void)type_codes;
  (void)num_args;
  (void)ret_value;
  (void)ret_type_code;
  return TVMBackendAllocWorkspace(resource_handle, (size_t)1 << 20, &workspace);
}

/* Writes where there is no memory. */
static int32_t crash(TVMValue *args, int *type_codes, int num_args, TVMValue *ret_value,
                     int *ret_type_code, void *resource_handle) {
  volatile uint32_t *nowhere = (volatile uint32_t *)(uintptr_t)0x70000000u;
  (void)args;
  (void)type_codes;
  (void)num_args;
  (void)ret_value;
  (void)ret_type_code;
  (void)resource_handle;
  *nowhere = 1;
  return TVM_OK;
}

/* Never ends. */
static int32_t hang(TVMValue *args, int *type_codes, int num_args, TVMValue *ret_value,
                    int *ret_type_code, void *resource_handle) {
  volatile int forever = 1;
  (void)args;
  (void)type_codes;
  (void)num_args;
  (void)ret_value;
  (void)ret_type_code;
  (void)resource_handle;
  while (forever) {
  }
  return TVM_OK;
}

#define OPERATOR_COUNT 5
static const TVMBackendPackedCFunc operator_functions[OPERATOR_COUNT] = {increment, refuse, exhaust,
                                                                         crash, hang};
#define OPERATOR_NAMES "\5\0increment\0refuse\0exhaust\0crash\0hang"

#endif
