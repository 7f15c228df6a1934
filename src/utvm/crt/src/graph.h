/* A graph in memory; private to the runtime.
 *
 * graph_load.c makes it, graph_runtime.c runs it, params.c fills it. All arrays lie in one block of
 * the runtime's memory behind the structure; the tensors' data lies in another, the pool. */
#ifndef UTVM_GRAPH_H
#define UTVM_GRAPH_H

#include "utvm/runtime.h"

typedef struct {
  TVMBackendPackedCFunc function;
  uint32_t workspace_offset; /* in the pool */
  uint32_t workspace_bytes;  /* 0: not planned */
  uint16_t first_argument;
  uint16_t argument_count;
} GraphOperator;

typedef struct {
  const char *name; /* in the JSON text */
  uint16_t name_bytes;
  uint16_t tensor;
} GraphInput;

struct TVMGraphRuntime {
  TVMRuntime *runtime;
  uint8_t *pool;
  DLTensor *tensors;
  int64_t *extents; /* of all tensors' shapes, one behind the other */
  GraphOperator *operators;
  GraphInput *inputs;
  TVMValue *values;    /* the arguments of the operator that is called */
  int *type_codes;     /* theirs */
  uint16_t *rows;      /* the first tensor of every node, and at the end the number of tensors */
  uint16_t *outputs;   /* tensors */
  uint16_t *arguments; /* the tensors that operators get, one operator behind the other */
  uint16_t operator_count;
  uint16_t input_count;
  uint16_t output_count;
};

/* The input of that name, or null. */
DLTensor *graph_find_input(const TVMGraphRuntime *graph, const char *name, size_t name_bytes);

#endif
