/* The runtime: tensors, operators by name, memory, and the graph executor.
 *
 * This file is the manual. Sizes and offsets are bytes unless a name says otherwise.
 *
 * How a program uses it:
 *
 *   TVMInitializeRuntime(&runtime, &config);                      once
 *   TVMGraphRuntime_Create(&runtime, json, json_bytes, &graph);   once per graph
 *   TVMGraphRuntime_LoadParams(graph, params, params_bytes);      if the graph asks for parameters
 *   TVMGraphRuntime_SetInput(graph, "image", &tensor);            before a run, per input
 *   TVMGraphRuntime_Run(graph);
 *   TVMGraphRuntime_GetOutput(graph, 0, &tensor);                 after a run, per output
 *   TVMGraphRuntime_Release(graph);                               at the end, if there is one
 *
 * Memory: the caller owns it all. The runtime lives in a TVMRuntime of the caller's and in the one
 * block of memory that its configuration names; it allocates nothing and has no static variables.
 * Several graphs share one runtime, several runtimes share nothing. What the runtime keeps pointers
 * to is said at each function; it must stay where it is, unchanged.
 *
 * Who may call: one caller at a time per runtime. No function may be called from an interrupt that
 * may have stopped another one of the same runtime. An operator may call the TVMBackend functions;
 * all others answer TVM_ERROR_BUSY during a run.
 *
 * Errors: functions return 0 or one of the negative codes below, and then have changed nothing but
 * what they say. Arguments are checked as far as can be done without trust in the graph: a JSON
 * text or parameters of any content give a status, never a fault. */
#ifndef UTVM_RUNTIME_H
#define UTVM_RUNTIME_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Status codes: every one there is. TVMStatusName gives their names as text. */
enum {
  TVM_OK = 0,
  TVM_ERROR_ARGUMENT = -1,        /* a null pointer, or memory that is not aligned to 8 */
  TVM_ERROR_MEMORY = -2,          /* the runtime's memory is too small */
  TVM_ERROR_WORKSPACE = -3,       /* an operator's scratch memory does not fit */
  TVM_ERROR_WORKSPACE_ORDER = -4, /* workspaces are not freed last in, first out */
  TVM_ERROR_BUSY = -5,            /* not allowed while a graph runs or a workspace is taken */
  TVM_ERROR_JSON = -6,            /* the text is not JSON */
  TVM_ERROR_JSON_DEPTH = -7,      /* the text is nested deeper than TVM_JSON_MAX_DEPTH */
  TVM_ERROR_GRAPH = -8,           /* the text is JSON, but does not describe a graph */
  TVM_ERROR_FUNCTION = -9,        /* the registry has no operator of that name */
  TVM_ERROR_NAME = -10,           /* the graph has no input of that name */
  TVM_ERROR_INDEX = -11,          /* the graph has no output of that number */
  TVM_ERROR_TENSOR = -12,         /* shape, type or strides are not the expected ones */
  TVM_ERROR_PARAMS = -13,         /* the parameters are damaged or cut short */
  TVM_ERROR_ARGUMENT_COUNT = -14, /* an operator was called with another number of arguments */
  TVM_ERROR_ARGUMENT_TYPE = -15   /* an operator was called with something that is no tensor */
};

/* The name of a status code, such as "TVM_ERROR_MEMORY"; never null. */
const char *TVMStatusName(int32_t status);

/* Tensors, laid out as DLPack lays them out. */

enum { kDLCPU = 1 };
enum { kDLInt = 0, kDLUInt = 1, kDLFloat = 2 };

typedef struct {
  int32_t device_type; /* kDLCPU, the only one here */
  int32_t device_id;
} DLDevice;

typedef struct {
  uint8_t code;   /* kDLInt, kDLUInt or kDLFloat; bool is kDLUInt of 1 bit, stored in a byte */
  uint8_t bits;   /* 1, 8, 16, 32 or 64 */
  uint16_t lanes; /* 1 */
} DLDataType;

typedef struct {
  void *data; /* aligned to the element type */
  DLDevice device;
  int32_t ndim; /* 0 or more */
  DLDataType dtype;
  int64_t *shape;       /* ndim elements; may be null if ndim is 0 */
  int64_t *strides;     /* null: row-major and compact, the only layout here */
  uint64_t byte_offset; /* of the first element from data */
} DLTensor;

/* Operators with the packed signature. All their arguments are tensors, inputs before outputs, as
 * v_handle of type kTVMDLTensorHandle. They return a status; ret_value and ret_type_code may be
 * null, nothing is written to them. resource_handle is the TVMRuntime. */

typedef union {
  int64_t v_int64;
  double v_float64;
  void *v_handle;
  const char *v_str;
  DLDataType v_type;
  DLDevice v_device;
} TVMValue;

enum { kTVMArgInt = 0, kTVMArgFloat = 2, kTVMOpaqueHandle = 3, kTVMDLTensorHandle = 7 };

typedef int32_t (*TVMBackendPackedCFunc)(TVMValue *args, int *type_codes, int num_args,
                                         TVMValue *ret_value, int *ret_type_code,
                                         void *resource_handle);

/* Operators by name: a system library. All of it is constant and stays the caller's. */
typedef struct {
  const char *names; /* their number in two bytes, low one first; then names that end with \0 */
  const TVMBackendPackedCFunc *funcs; /* in the order of the names */
} TVMFuncRegistry;

/* Finds the operator whose name is the name_bytes characters at name; TVM_ERROR_FUNCTION if there is
 * none. */
int32_t TVMFuncRegistry_Lookup(const TVMFuncRegistry *registry, const char *name, size_t name_bytes,
                               TVMBackendPackedCFunc *func);

/* The runtime. */

/* Told the status that ends a function below and the operator that it is about: one that a graph
 * asks for and that does not exist, or that failed. The name is not ended by \0 and not kept. */
typedef void (*TVMLogFunction)(void *log_context, int32_t status, const char *operator_name,
                               size_t name_bytes);

typedef struct {
  void *memory;                    /* aligned to 8; the runtime's until the end */
  size_t memory_bytes;             /* below 2^31 */
  const TVMFuncRegistry *registry; /* kept; null: no operators */
  TVMLogFunction log;              /* kept; null: no log */
  void *log_context;               /* kept; passed to log */
} TVMRuntimeConfig;

/* All fields are private but the two marks, which the caller may read and set to 0 at any time. */
typedef struct {
  TVMRuntimeConfig config;
  size_t blocks_bytes; /* from below: blocks, one per graph */
  uint8_t *workspace;  /* where workspaces are taken from, from its end down */
  size_t workspace_bytes;
  size_t workspace_used;
  int32_t running;
  size_t memory_peak_bytes;    /* the most of memory that was in use at one time */
  size_t workspace_peak_bytes; /* the most that workspaces took at one time */
} TVMRuntime;

/* Prepares a runtime; the configuration is copied, what it points to is kept. */
int32_t TVMInitializeRuntime(TVMRuntime *runtime, const TVMRuntimeConfig *config);

/* Takes and returns blocks of the runtime's memory, aligned to 8 and of undefined content, for things
 * that live long. First fit, 8 bytes more than asked for; in any order. Freeing what is no block is
 * TVM_ERROR_ARGUMENT as far as it can be told. */
int32_t TVMRuntime_Allocate(TVMRuntime *runtime, size_t bytes, void **block);
int32_t TVMRuntime_Free(TVMRuntime *runtime, void *block);

/* For operators. */

/* Takes scratch memory, aligned to 8 and of undefined content, until it is freed. In a graph with
 * planned workspaces it lies where they were planned, else at the end of the runtime's memory. */
int32_t TVMBackendAllocWorkspace(TVMRuntime *runtime, size_t bytes, void **workspace);

/* Returns the workspace that was taken last; bytes as when it was taken. */
int32_t TVMBackendFreeWorkspace(TVMRuntime *runtime, void *workspace, size_t bytes);

/* Whether the arguments are `count` tensors of at least bytes[i] bytes each. */
int32_t TVMBackendCheckTensors(const TVMValue *args, const int *type_codes, int num_args,
                               const uint32_t *bytes, int count);

/* The first element of the tensor that is argument i. */
static inline void *TVMBackendTensorData(const TVMValue *args, int i) {
  const DLTensor *tensor = (const DLTensor *)args[i].v_handle;
  return (uint8_t *)tensor->data + (size_t)tensor->byte_offset;
}

/* The graph executor. */

#define TVM_JSON_MAX_DEPTH 16

/* A graph that can run; it lies in the runtime's memory. */
typedef struct TVMGraphRuntime TVMGraphRuntime;

/* Makes a graph of its JSON text (SPEC.md), with memory for all its tensors. The text is kept: names
 * of inputs are read from it. Inputs start as undefined. */
int32_t TVMGraphRuntime_Create(TVMRuntime *runtime, const char *json, size_t json_bytes,
                               TVMGraphRuntime **graph);

/* Copies parameters (SPEC.md) to the inputs of their names; names that the graph does not have are
 * passed over. The blob is not kept and needs no alignment. On an error some may have been set. */
int32_t TVMGraphRuntime_LoadParams(TVMGraphRuntime *graph, const void *params, size_t params_bytes);

/* Copies a tensor of the input's shape and type to an input. It keeps its value over runs. */
int32_t TVMGraphRuntime_SetInput(TVMGraphRuntime *graph, const char *name, const DLTensor *tensor);

/* The graph's own tensor of an input: what is written to its data is the input, without a copy. */
int32_t TVMGraphRuntime_GetInput(TVMGraphRuntime *graph, const char *name, DLTensor **tensor);

/* Runs all operators in order. The first status that is not TVM_OK ends the run and is returned. */
int32_t TVMGraphRuntime_Run(TVMGraphRuntime *graph);

/* Copies an output to a tensor of its shape and type. Outputs are undefined before the first run. */
int32_t TVMGraphRuntime_GetOutput(TVMGraphRuntime *graph, int32_t index, DLTensor *tensor);

int32_t TVMGraphRuntime_GetNumInputs(const TVMGraphRuntime *graph);
int32_t TVMGraphRuntime_GetNumOutputs(const TVMGraphRuntime *graph);

/* Returns the graph's memory to the runtime. The graph must not be used again. */
int32_t TVMGraphRuntime_Release(TVMGraphRuntime *graph);

#ifdef __cplusplus
}
#endif

#endif
