/* Takes graphs and parameters of any content through the runtime.
 *
 * Standard input holds cases: the sizes of the JSON text, of the parameters and of the runtime's
 * memory as three numbers of four bytes, then text and parameters. Text, parameters and memory are
 * blocks of exactly these sizes, so that a sanitizer sees every byte read or written outside of them.
 * A graph that is accepted is run twice with inputs of ones. For each case the first status that is
 * not TVM_OK goes to standard output, behind it the peak of the memory and the sum of all outputs. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph.h"
#include "utvm/runtime.h"

static size_t driver_bytes(const DLTensor *tensor) {
  size_t bytes = (tensor->dtype.bits + 7u) / 8u;
  int32_t axis;
  for (axis = 0; axis < tensor->ndim; axis++) {
    bytes *= (size_t)tensor->shape[axis];
  }
  return bytes;
}

/* Adds all bytes of all arguments but the last, and fills the last with the sum. */
static int32_t driver_sum(TVMValue *args, int *type_codes, int num_args, TVMValue *ret_value,
                          int *ret_type_code, void *resource_handle) {
  void *scratch;
  uint8_t sum = 0;
  int i;
  int32_t status;
  (void)type_codes;
  (void)ret_value;
  (void)ret_type_code;
  if (num_args < 1) {
    return TVM_ERROR_ARGUMENT_COUNT;
  }
  status = TVMBackendAllocWorkspace(resource_handle, 16, &scratch);
  if (status != TVM_OK) {
    return status;
  }
  memset(scratch, 1, 16);
  for (i = 0; i < num_args; i++) {
    const DLTensor *tensor = (const DLTensor *)args[i].v_handle;
    uint8_t *data = (uint8_t *)TVMBackendTensorData(args, i);
    size_t at;
    for (at = 0; at < driver_bytes(tensor); at++) {
      if (i < num_args - 1) {
        sum = (uint8_t)(sum + data[at]);
      } else {
        data[at] = sum;
      }
    }
  }
  return TVMBackendFreeWorkspace(resource_handle, scratch, 16);
}

static int32_t driver_fail(TVMValue *args, int *type_codes, int num_args, TVMValue *ret_value,
                           int *ret_type_code, void *resource_handle) {
  void *scratch;
  (void)args;
  (void)type_codes;
  (void)num_args;
  (void)ret_value;
  (void)ret_type_code;
  (void)TVMBackendAllocWorkspace(resource_handle, 8, &scratch); /* never freed */
  return -100;
}

static const TVMBackendPackedCFunc driver_functions[] = {driver_sum, driver_fail};
static const TVMFuncRegistry driver_registry = {"\002\000sum\0fail\0", driver_functions};

static int32_t driver_run(TVMGraphRuntime *graph, int32_t *sum) {
  int32_t status = TVM_OK;
  int32_t i;
  for (i = 0; i < graph->input_count; i++) {
    const DLTensor *input = &graph->tensors[graph->inputs[i].tensor];
    memset(input->data, 1, driver_bytes(input));
  }
  for (i = 0; i < 2 && status == TVM_OK; i++) {
    status = TVMGraphRuntime_Run(graph);
  }
  for (i = 0; i < TVMGraphRuntime_GetNumOutputs(graph) && status == TVM_OK; i++) {
    DLTensor output = graph->tensors[graph->outputs[i]];
    const size_t bytes = driver_bytes(&output);
    uint8_t *data = malloc(bytes + 1); /* never of size 0 */
    size_t at;
    output.data = data;
    status = TVMGraphRuntime_GetOutput(graph, i, &output);
    for (at = 0; at < bytes && status == TVM_OK; at++) {
      *sum += data[at];
    }
    free(data);
  }
  return status;
}

static void driver_log(void *log_context, int32_t status, const char *name, size_t name_bytes) {
  size_t i;
  (void)status;
  for (i = 0; i < name_bytes; i++) {
    *(int32_t *)log_context += name[i];
  }
}

static void driver_case(const uint32_t sizes[3], const char *json, const void *params) {
  void *memory = malloc(sizes[2] + 8); /* never of size 0, which may be null */
  int32_t logged = 0;
  TVMRuntimeConfig config = {memory, sizes[2], &driver_registry, driver_log, &logged};
  TVMRuntime runtime;
  TVMGraphRuntime *graph = NULL;
  int32_t results[3] = {0, 0, 0};
  results[0] = TVMInitializeRuntime(&runtime, &config);
  if (results[0] == TVM_OK) {
    results[0] = TVMGraphRuntime_Create(&runtime, json, sizes[0], &graph);
  }
  if (graph != NULL) {
    if (sizes[1] != 0) {
      results[0] = TVMGraphRuntime_LoadParams(graph, params, sizes[1]);
    }
    if (results[0] == TVM_OK) {
      results[0] = driver_run(graph, &results[2]);
    }
    if (TVMGraphRuntime_Release(graph) != TVM_OK) {
      exit(2);
    }
  }
  if (runtime.blocks_bytes != 0 || runtime.workspace_used != 0) {
    exit(3);
  }
  results[1] = (int32_t)runtime.memory_peak_bytes;
  (void)fwrite(results, sizeof results, 1, stdout);
  free(memory);
}

int main(void) {
  uint32_t sizes[3];
  while (fread(sizes, sizeof sizes, 1, stdin) == 1) {
    char *json = malloc(sizes[0] == 0 ? 1 : sizes[0]);
    char *params = malloc(sizes[1] == 0 ? 1 : sizes[1]);
    if (json == NULL || params == NULL || fread(json, 1, sizes[0], stdin) != sizes[0] ||
        fread(params, 1, sizes[1], stdin) != sizes[1]) {
      return 4;
    }
    driver_case(sizes, json, params);
    free(json);
    free(params);
  }
  return 0;
}
