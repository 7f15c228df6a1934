/* Unit tests of the runtime: blocks, workspaces, operators by name, graphs that share a memory.
 *
 * Prints the line of every check that fails; the exit status is then 1. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "utvm/runtime.h"

static int failures;

static void driver_check(int holds, int line) {
  if (!holds) {
    printf("line %d\n", line);
    failures++;
  }
}
#define CHECK(condition) driver_check((condition), __LINE__)

static int64_t memory[256]; /* 2048 bytes */
static TVMGraphRuntime *running;
static DLTensor *tensor_of_running;

/* Adds 1 to every byte; tries what is forbidden during a run. */
static int32_t driver_increment(TVMValue *args, int *type_codes, int num_args, TVMValue *ret_value,
                                int *ret_type_code, void *resource_handle) {
  static const uint32_t bytes[] = {4, 4};
  int32_t status = TVMBackendCheckTensors(args, type_codes, num_args, bytes, 2);
  void *block;
  int i;
  (void)ret_value;
  (void)ret_type_code;
  if (status != TVM_OK) {
    return status;
  }
  CHECK(TVMRuntime_Allocate(resource_handle, 8, &block) == TVM_ERROR_BUSY);
  CHECK(TVMGraphRuntime_Run(running) == TVM_ERROR_BUSY);
  CHECK(TVMGraphRuntime_Release(running) == TVM_ERROR_BUSY);
  CHECK(TVMGraphRuntime_SetInput(running, "x", tensor_of_running) == TVM_ERROR_BUSY);
  CHECK(TVMGraphRuntime_GetOutput(running, 0, tensor_of_running) == TVM_ERROR_BUSY);
  CHECK(TVMGraphRuntime_LoadParams(running, "", 0) == TVM_ERROR_BUSY);
  for (i = 0; i < 4; i++) {
    ((uint8_t *)TVMBackendTensorData(args, 1))[i] =
        (uint8_t)(((const uint8_t *)TVMBackendTensorData(args, 0))[i] + 1);
  }
  return TVM_OK;
}

/* Two operators, one name the beginning of the other. */
static const TVMBackendPackedCFunc functions[] = {driver_increment, driver_increment};
static const TVMFuncRegistry registry = {"\002\000increments\0increment\0", functions};
static const TVMRuntimeConfig config = {memory, sizeof memory, &registry, NULL, NULL};

static const char graph_text[] =
    "{\"nodes\": [{\"op\": \"null\", \"name\": \"x\", \"inputs\": []},"
    " {\"op\": \"tvm_op\", \"name\": \"y\", \"inputs\": [[0, 0, 0]], \"attrs\": {\"func_name\":"
    " \"increment\", \"num_inputs\": \"1\", \"num_outputs\": \"1\", \"flatten_data\": \"0\"}}],"
    " \"arg_nodes\": [0], \"heads\": [[1, 0, 0]], \"node_row_ptr\": [0, 1, 2], \"attrs\":"
    " {\"shape\": [\"list_shape\", [[2, 2], [2, 2]]], \"dltype\": [\"list_str\", [\"int8\","
    " \"int8\"]], \"storage_id\": [\"list_int\", [0, 1]]}}";

static void check_set_up(void) {
  TVMRuntime runtime;
  TVMRuntimeConfig wrong = config;
  CHECK(TVMInitializeRuntime(&runtime, &config) == TVM_OK);
  CHECK(TVMInitializeRuntime(NULL, &config) == TVM_ERROR_ARGUMENT);
  CHECK(TVMInitializeRuntime(&runtime, NULL) == TVM_ERROR_ARGUMENT);
  wrong.memory = NULL;
  CHECK(TVMInitializeRuntime(&runtime, &wrong) == TVM_ERROR_ARGUMENT);
  wrong.memory = (uint8_t *)memory + 4;
  CHECK(TVMInitializeRuntime(&runtime, &wrong) == TVM_ERROR_ARGUMENT);
  wrong = config;
  wrong.memory_bytes = (size_t)1 << 31;
  CHECK(TVMInitializeRuntime(&runtime, &wrong) == TVM_ERROR_ARGUMENT);
}

static void check_blocks(void) {
  TVMRuntime runtime;
  void *a, *b, *c, *d;
  CHECK(TVMInitializeRuntime(&runtime, &config) == TVM_OK);
  CHECK(TVMRuntime_Allocate(&runtime, 100, &a) == TVM_OK);
  CHECK(TVMRuntime_Allocate(&runtime, 200, &b) == TVM_OK);
  CHECK(TVMRuntime_Allocate(&runtime, 0, &c) == TVM_OK);
  CHECK(((uintptr_t)a & 7) == 0 && ((uintptr_t)b & 7) == 0 && a != b && b != c);
  CHECK(runtime.memory_peak_bytes == 104 + 200 + 0 + 3 * 8);
  memset(a, 0xAA, 100);
  memset(b, 0xBB, 200);
  CHECK(TVMRuntime_Free(&runtime, a) == TVM_OK);
  CHECK(TVMRuntime_Free(&runtime, a) == TVM_ERROR_ARGUMENT);
  CHECK(TVMRuntime_Free(&runtime, (uint8_t *)b + 8) == TVM_ERROR_ARGUMENT);
  CHECK(TVMRuntime_Allocate(&runtime, 40, &d) == TVM_OK && d == a); /* part of a's place */
  CHECK(TVMRuntime_Allocate(&runtime, 56, &a) == TVM_OK && (uint8_t *)a == (uint8_t *)d + 48);
  CHECK(TVMRuntime_Free(&runtime, b) == TVM_OK);
  CHECK(TVMRuntime_Free(&runtime, a) == TVM_OK);
  CHECK(TVMRuntime_Allocate(&runtime, 264, &b) == TVM_OK && b == a); /* both places, as one */
  CHECK(TVMRuntime_Free(&runtime, c) == TVM_OK);
  CHECK(TVMRuntime_Free(&runtime, d) == TVM_OK);
  CHECK(TVMRuntime_Free(&runtime, b) == TVM_OK);
  CHECK(runtime.blocks_bytes == 0);
  CHECK(TVMRuntime_Allocate(&runtime, sizeof memory - 8, &a) == TVM_OK);
  CHECK(TVMRuntime_Allocate(&runtime, 0, &b) == TVM_ERROR_MEMORY);
  CHECK(TVMRuntime_Free(&runtime, a) == TVM_OK);
  CHECK(TVMRuntime_Allocate(&runtime, sizeof memory - 7, &a) == TVM_ERROR_MEMORY);
  CHECK(TVMRuntime_Allocate(&runtime, SIZE_MAX, &a) == TVM_ERROR_MEMORY);
}

static void check_workspaces(void) {
  TVMRuntime runtime;
  void *block, *a, *b;
  CHECK(TVMInitializeRuntime(&runtime, &config) == TVM_OK);
  CHECK(TVMRuntime_Allocate(&runtime, 1000, &block) == TVM_OK);
  CHECK(TVMBackendAllocWorkspace(&runtime, 10, &a) == TVM_OK);
  CHECK(TVMBackendAllocWorkspace(&runtime, 1000, &b) == TVM_OK);
  CHECK(((uintptr_t)a & 7) == 0 && ((uintptr_t)b & 7) == 0);
  CHECK((uint8_t *)b >= (uint8_t *)block + 1000 && (uint8_t *)b + 1000 <= (uint8_t *)a);
  memset(a, 1, 10);
  memset(b, 2, 1000);
  CHECK(TVMBackendAllocWorkspace(&runtime, 25, &block) == TVM_ERROR_WORKSPACE);
  CHECK(TVMBackendAllocWorkspace(&runtime, SIZE_MAX, &block) == TVM_ERROR_WORKSPACE);
  CHECK(TVMRuntime_Allocate(&runtime, 24, &block) == TVM_ERROR_MEMORY);
  CHECK(TVMBackendFreeWorkspace(&runtime, a, 10) == TVM_ERROR_WORKSPACE_ORDER);
  CHECK(TVMBackendFreeWorkspace(&runtime, b, SIZE_MAX) == TVM_ERROR_WORKSPACE_ORDER);
  CHECK(TVMBackendFreeWorkspace(&runtime, b, 1000) == TVM_OK);
  CHECK(TVMBackendFreeWorkspace(&runtime, a, 10) == TVM_OK);
  CHECK(TVMBackendFreeWorkspace(&runtime, a, 10) == TVM_ERROR_WORKSPACE_ORDER);
  CHECK(runtime.workspace_peak_bytes == 16 + 1000);
  CHECK(runtime.memory_peak_bytes == 8 + 1000 + 16 + 1000);
}

static void check_registry(void) {
  TVMBackendPackedCFunc found = NULL;
  CHECK(TVMFuncRegistry_Lookup(&registry, "increment", 9, &found) == TVM_OK);
  CHECK(found == driver_increment);
  CHECK(TVMFuncRegistry_Lookup(&registry, "increments", 10, &found) == TVM_OK);
  CHECK(TVMFuncRegistry_Lookup(&registry, "increm", 6, &found) == TVM_ERROR_FUNCTION);
  CHECK(TVMFuncRegistry_Lookup(&registry, "", 0, &found) == TVM_ERROR_FUNCTION);
  CHECK(TVMFuncRegistry_Lookup(NULL, "increment", 9, &found) == TVM_ERROR_FUNCTION);
}

static void check_arguments(void) {
  static int64_t shape[] = {4};
  static uint8_t data[8];
  static const uint32_t bytes[] = {4};
  DLTensor tensor = {data, {kDLCPU, 0}, 1, {kDLInt, 8, 1}, shape, NULL, 4};
  TVMValue value;
  int code = kTVMDLTensorHandle;
  value.v_handle = &tensor;
  CHECK(TVMBackendCheckTensors(&value, &code, 1, bytes, 1) == TVM_OK);
  CHECK(TVMBackendTensorData(&value, 0) == data + 4);
  CHECK(TVMBackendCheckTensors(&value, &code, 2, bytes, 1) == TVM_ERROR_ARGUMENT_COUNT);
  shape[0] = 3;
  CHECK(TVMBackendCheckTensors(&value, &code, 1, bytes, 1) == TVM_ERROR_TENSOR);
  shape[0] = INT64_MAX;
  CHECK(TVMBackendCheckTensors(&value, &code, 1, bytes, 1) == TVM_ERROR_TENSOR);
  shape[0] = -4;
  CHECK(TVMBackendCheckTensors(&value, &code, 1, bytes, 1) == TVM_ERROR_TENSOR);
  shape[0] = 4;
  tensor.strides = shape;
  CHECK(TVMBackendCheckTensors(&value, &code, 1, bytes, 1) == TVM_ERROR_TENSOR);
  code = kTVMArgInt;
  CHECK(TVMBackendCheckTensors(&value, &code, 1, bytes, 1) == TVM_ERROR_ARGUMENT_TYPE);
  code = kTVMDLTensorHandle;
  value.v_handle = NULL;
  CHECK(TVMBackendCheckTensors(&value, &code, 1, bytes, 1) == TVM_ERROR_ARGUMENT_TYPE);
}

static void check_graphs(void) {
  static int64_t shape[] = {2, 2};
  uint8_t data[4] = {1, 2, 3, 255};
  DLTensor tensor = {data, {kDLCPU, 0}, 2, {kDLInt, 8, 1}, shape, NULL, 0};
  DLTensor *own;
  TVMRuntime runtime;
  TVMGraphRuntime *graphs[3];
  void *block;
  size_t one;
  int i;
  CHECK(TVMInitializeRuntime(&runtime, &config) == TVM_OK);
  for (i = 0; i < 3; i++) {
    CHECK(TVMGraphRuntime_Create(&runtime, graph_text, sizeof graph_text - 1, &graphs[i]) ==
          TVM_OK);
  }
  one = runtime.blocks_bytes / 3;
  CHECK(TVMGraphRuntime_SetInput(graphs[0], "y", &tensor) == TVM_ERROR_NAME);
  CHECK(TVMGraphRuntime_SetInput(graphs[0], "x", NULL) == TVM_ERROR_ARGUMENT);
  tensor.dtype.code = kDLUInt;
  CHECK(TVMGraphRuntime_SetInput(graphs[0], "x", &tensor) == TVM_ERROR_TENSOR);
  tensor.dtype.code = kDLInt;
  shape[0] = 1;
  CHECK(TVMGraphRuntime_SetInput(graphs[0], "x", &tensor) == TVM_ERROR_TENSOR);
  shape[0] = 2;
  CHECK(TVMGraphRuntime_SetInput(graphs[0], "x", &tensor) == TVM_OK);
  data[0] = 100;
  CHECK(TVMGraphRuntime_SetInput(graphs[2], "x", &tensor) == TVM_OK);
  CHECK(TVMGraphRuntime_Release(graphs[1]) == TVM_OK); /* the one in the middle */
  running = graphs[0];
  tensor_of_running = &tensor;
  CHECK(TVMGraphRuntime_Run(graphs[0]) == TVM_OK);
  CHECK(TVMGraphRuntime_Run(graphs[2]) == TVM_OK);
  CHECK(TVMGraphRuntime_GetOutput(graphs[0], 1, &tensor) == TVM_ERROR_INDEX);
  CHECK(TVMGraphRuntime_GetOutput(graphs[0], -1, &tensor) == TVM_ERROR_INDEX);
  CHECK(TVMGraphRuntime_GetOutput(graphs[0], 0, &tensor) == TVM_OK);
  CHECK(data[0] == 2 && data[1] == 3 && data[2] == 4 && data[3] == 0);
  CHECK(TVMGraphRuntime_GetOutput(graphs[2], 0, &tensor) == TVM_OK);
  CHECK(data[0] == 101 && data[3] == 0);
  CHECK(TVMGraphRuntime_GetInput(graphs[0], "x", &own) == TVM_OK && own->data != data);
  memset(own->data, 7, 4); /* an input without a copy */
  CHECK(TVMGraphRuntime_Run(graphs[0]) == TVM_OK);
  CHECK(TVMGraphRuntime_GetOutput(graphs[0], 0, &tensor) == TVM_OK && data[2] == 8);
  CHECK(TVMGraphRuntime_Create(&runtime, graph_text, sizeof graph_text - 1, &graphs[1]) == TVM_OK);
  CHECK(runtime.blocks_bytes == 3 * one); /* where the released one was */
  CHECK(TVMGraphRuntime_GetNumInputs(graphs[1]) == 1);
  CHECK(TVMGraphRuntime_GetNumOutputs(graphs[1]) == 1);
  CHECK(TVMBackendAllocWorkspace(&runtime, 8, &block) == TVM_OK);
  CHECK(TVMGraphRuntime_Run(graphs[0]) == TVM_ERROR_BUSY);
  CHECK(TVMBackendFreeWorkspace(&runtime, block, 8) == TVM_OK);
  for (i = 0; i < 3; i++) {
    CHECK(TVMGraphRuntime_Release(graphs[i]) == TVM_OK);
  }
  CHECK(runtime.blocks_bytes == 0);
}

int main(void) {
  check_set_up();
  check_blocks();
  check_workspaces();
  check_registry();
  check_arguments();
  check_graphs();
  return failures == 0 ? 0 : 1;
}
