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
  volatile uint32_t *nowhere = (volatile uint32_t *)(uintptr_t)0xE1000000u;
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

/* Goes on where nothing may be executed. */
static int32_t jump(TVMValue *args, int *type_codes, int num_args, TVMValue *ret_value,
                    int *ret_type_code, void *resource_handle) {
  (void)args;
  (void)type_codes;
  (void)num_args;
  (void)ret_value;
  (void)ret_type_code;
  (void)resource_handle;
  void (*volatile nowhere)(void) = (void (*)(void))(uintptr_t)0x40000001u;
  nowhere();
  return TVM_OK;
}

/* Executes what is no instruction. */
static int32_t undefined(TVMValue *args, int *type_codes, int num_args, TVMValue *ret_value,
                         int *ret_type_code, void *resource_handle) {
  (void)args;
  (void)type_codes;
  (void)num_args;
  (void)ret_value;
  (void)ret_type_code;
  (void)resource_handle;
  __builtin_trap();
}

/* Stops for a debugger that is not there. */
static int32_t breakpoint(TVMValue *args, int *type_codes, int num_args, TVMValue *ret_value,
                          int *ret_type_code, void *resource_handle) {
  (void)args;
  (void)type_codes;
  (void)num_args;
  (void)ret_value;
  (void)ret_type_code;
  (void)resource_handle;
#if defined(__arm__)
  __asm__ volatile("bkpt 0");
#elif defined(__riscv)
  __asm__ volatile("ebreak");
#else
  __builtin_trap();
#endif
  return TVM_OK;
}

/* Uses `depth` times 64 bytes of the stack or more. */
static uint32_t deep(uint32_t depth) {
  volatile uint8_t here[64];
  here[0] = (uint8_t)depth;
  return depth == 0 ? here[0] : deep(depth - 1) + here[0];
}

/* Never stops to call itself. */
static int32_t overflow(TVMValue *args, int *type_codes, int num_args, TVMValue *ret_value,
                        int *ret_type_code, void *resource_handle) {
  (void)args;
  (void)type_codes;
  (void)num_args;
  (void)ret_value;
  (void)ret_type_code;
  (void)resource_handle;
  return (int32_t)deep(0xFFFFFFu);
}

/* Uses a kilobyte of stack, and of workspace as much. */
static int32_t spend(TVMValue *args, int *type_codes, int num_args, TVMValue *ret_value,
                     int *ret_type_code, void *resource_handle) {
  void *workspace;
  const int32_t status = TVMBackendAllocWorkspace(resource_handle, 1024, &workspace);
  (void)args;
  (void)type_codes;
  (void)num_args;
  (void)ret_value;
  (void)ret_type_code;
  (void)deep(16);
  return status != TVM_OK ? status : TVMBackendFreeWorkspace(resource_handle, workspace, 1024);
}

#define OPERATOR_COUNT 10
static const TVMBackendPackedCFunc operator_functions[OPERATOR_COUNT] = {
    increment, refuse, exhaust, crash, hang, jump, undefined, breakpoint, overflow, spend};
#define OPERATOR_NAMES \
  "\12\0increment\0refuse\0exhaust\0crash\0hang\0jump\0undefined\0breakpoint\0overflow\0spend"

#endif
