/* Running a graph: inputs in, operators in order, outputs out. */
#include "graph.h"
#include "memory.h"
#include "registry.h"
#include "tensor.h"
#include "utvm/mem.h"
#include "utvm/small.h"

UTVM_SMALL_BEGIN

DLTensor *graph_find_input(const TVMGraphRuntime *graph, const char *name, size_t name_bytes) {
  uint32_t i;
  for (i = 0; i < graph->input_count; i++) {
    const GraphInput *input = &graph->inputs[i];
    if (input->name_bytes == name_bytes && memcmp(input->name, name, name_bytes) == 0) {
      return &graph->tensors[input->tensor];
    }
  }
  return NULL;
}

/* Copies the elements of one tensor to another of the same shape and type. */
static int32_t graph_copy(const DLTensor *to, const DLTensor *from) {
  uint32_t bytes;
  if (!tensor_matches(to, from) || !tensor_matches(from, to) || !tensor_size(to, &bytes)) {
    return TVM_ERROR_TENSOR;
  }
  if (bytes != 0) {
    memmove(tensor_data(to), tensor_data(from), bytes);
  }
  return TVM_OK;
}

int32_t TVMGraphRuntime_GetInput(TVMGraphRuntime *graph, const char *name, DLTensor **tensor) {
  if (graph == NULL || name == NULL || tensor == NULL) {
    return TVM_ERROR_ARGUMENT;
  }
  *tensor = graph_find_input(graph, name, registry_name_bytes(name));
  return *tensor == NULL ? TVM_ERROR_NAME : TVM_OK;
}

int32_t TVMGraphRuntime_SetInput(TVMGraphRuntime *graph, const char *name, const DLTensor *tensor) {
  DLTensor *input;
  int32_t status;
  if (tensor == NULL) {
    return TVM_ERROR_ARGUMENT;
  }
  status = TVMGraphRuntime_GetInput(graph, name, &input);
  if (status != TVM_OK) {
    return status;
  }
  return graph->runtime->running ? TVM_ERROR_BUSY : graph_copy(input, tensor);
}

/* Calls an operator, with its workspaces where the graph wants them. */
static int32_t graph_call(TVMGraphRuntime *graph, const GraphOperator *operator) {
  TVMRuntime *runtime = graph->runtime;
  const uint16_t *arguments = graph->arguments + operator->first_argument;
  TVMValue result;
  int result_code = kTVMArgInt;
  int32_t status;
  int i;
  for (i = 0; i < operator->argument_count; i++) {
    graph->values[i].v_handle = &graph->tensors[arguments[i]];
    graph->type_codes[i] = kTVMDLTensorHandle;
  }
  if (operator->workspace_bytes != 0) {
    runtime->workspace = graph->pool + operator->workspace_offset;
    runtime->workspace_bytes = operator->workspace_bytes;
  }
  result.v_int64 = 0;
  status = operator->function(graph->values, graph->type_codes, operator->argument_count, &result,
                              &result_code, runtime);
  memory_reset_workspace(runtime); /* whatever the operator left behind */
  return status;
}

int32_t TVMGraphRuntime_Run(TVMGraphRuntime *graph) {
  TVMRuntime *runtime;
  int32_t status = TVM_OK;
  uint32_t i;
  if (graph == NULL) {
    return TVM_ERROR_ARGUMENT;
  }
  runtime = graph->runtime;
  if (runtime->running || runtime->workspace_used != 0) {
    return TVM_ERROR_BUSY;
  }
  runtime->running = 1;
  for (i = 0; i < graph->operator_count && status == TVM_OK; i++) {
    status = graph_call(graph, &graph->operators[i]);
  }
  runtime->running = 0;
  if (status != TVM_OK) {
    registry_log_function(runtime, status, graph->operators[i - 1].function);
  }
  return status;
}

int32_t TVMGraphRuntime_GetOutput(TVMGraphRuntime *graph, int32_t index, DLTensor *tensor) {
  if (graph == NULL || tensor == NULL) {
    return TVM_ERROR_ARGUMENT;
  }
  if (index < 0 || index >= graph->output_count) {
    return TVM_ERROR_INDEX;
  }
  if (graph->runtime->running) {
    return TVM_ERROR_BUSY;
  }
  return graph_copy(tensor, &graph->tensors[graph->outputs[index]]);
}

int32_t TVMGraphRuntime_GetNumInputs(const TVMGraphRuntime *graph) {
  return graph == NULL ? TVM_ERROR_ARGUMENT : graph->input_count;
}

int32_t TVMGraphRuntime_GetNumOutputs(const TVMGraphRuntime *graph) {
  return graph == NULL ? TVM_ERROR_ARGUMENT : graph->output_count;
}

int32_t TVMGraphRuntime_Release(TVMGraphRuntime *graph) {
  TVMRuntime *runtime;
  int32_t status;
  if (graph == NULL) {
    return TVM_ERROR_ARGUMENT;
  }
  runtime = graph->runtime;
  status = TVMRuntime_Free(runtime, graph->pool);
  return status != TVM_OK ? status : TVMRuntime_Free(runtime, graph);
}

UTVM_SMALL_END
