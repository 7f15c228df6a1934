/* Setting up a runtime, and checking what operators are called with. */
#include "utvm/runtime.h"
#include "utvm/small.h"

#include "memory.h"
#include "tensor.h"

UTVM_SMALL_BEGIN

#define RUNTIME_MEMORY_LIMIT ((size_t)1 << 31)

int32_t TVMInitializeRuntime(TVMRuntime *runtime, const TVMRuntimeConfig *config) {
  if (runtime == NULL || config == NULL || config->memory == NULL ||
      ((uintptr_t)config->memory & 7u) != 0 || config->memory_bytes >= RUNTIME_MEMORY_LIMIT) {
    return TVM_ERROR_ARGUMENT;
  }
  runtime->config = *config;
  runtime->blocks_bytes = 0;
  runtime->running = 0;
  runtime->memory_peak_bytes = 0;
  runtime->workspace_peak_bytes = 0;
  memory_reset_workspace(runtime);
  return TVM_OK;
}

int32_t TVMBackendCheckTensors(const TVMValue *args, const int *type_codes, int num_args,
                               const uint32_t *bytes, int count) {
  int i;
  if (num_args != count) {
    return TVM_ERROR_ARGUMENT_COUNT;
  }
  for (i = 0; i < count; i++) {
    const DLTensor *tensor = (const DLTensor *)args[i].v_handle;
    uint32_t tensor_bytes;
    if (type_codes[i] != kTVMDLTensorHandle || tensor == NULL) {
      return TVM_ERROR_ARGUMENT_TYPE;
    }
    if (tensor->data == NULL || tensor->strides != NULL || !tensor_size(tensor, &tensor_bytes) ||
        tensor_bytes < bytes[i]) {
      return TVM_ERROR_TENSOR;
    }
  }
  return TVM_OK;
}

UTVM_SMALL_END
