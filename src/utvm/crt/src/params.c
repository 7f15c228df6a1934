/* Loading parameters: a list of named tensors in TVM's format, little-endian. SPEC.md describes it.
 *
 * The list is names first, then tensors in the same order; two readers go through them in step. */
#include "graph.h"
#include "tensor.h"
#include "utvm/mem.h"
#include "utvm/small.h"

UTVM_SMALL_BEGIN

#define PARAMS_LIST_MAGIC_LOW 0x05049CB7u
#define PARAMS_LIST_MAGIC_HIGH 0xF7E58D4Fu
#define PARAMS_TENSOR_MAGIC_LOW 0x96B4A13Fu
#define PARAMS_TENSOR_MAGIC_HIGH 0xDD5E40F0u

/* What is left to read. Reading more than there is breaks the reader; it then reads zeros. */
typedef struct {
  const uint8_t *at;
  size_t left;
  int broken;
} ParamsReader;

/* Goes over `bytes` bytes and says where they begin. */
static const uint8_t *params_take(ParamsReader *reader, uint32_t bytes) {
  const uint8_t *const at = reader->at;
  if (bytes > reader->left) {
    reader->broken = 1;
    reader->left = 0;
    return at;
  }
  reader->at += bytes;
  reader->left -= bytes;
  return at;
}

/* Reads a number of up to 4 bytes, the low one first. */
static uint32_t params_number(ParamsReader *reader, uint32_t bytes) {
  const uint8_t *const at = params_take(reader, bytes);
  uint32_t number = 0;
  while (!reader->broken && bytes > 0) {
    number = number << 8 | at[--bytes];
  }
  return number;
}

/* Reads a number of 8 bytes; nothing here can be 2^32 or more and right. */
static uint32_t params_number_64(ParamsReader *reader) {
  const uint32_t low = params_number(reader, 4);
  if (params_number(reader, 4) != 0) {
    reader->broken = 1;
  }
  return low;
}

static void params_expect(ParamsReader *reader, uint32_t number) {
  if (params_number(reader, 4) != number) {
    reader->broken = 1;
  }
}

static const char *params_name(ParamsReader *reader, uint32_t *name_bytes) {
  *name_bytes = params_number_64(reader);
  return (const char *)params_take(reader, *name_bytes);
}

/* Reads one tensor and copies it to the input; null: there is none, the tensor is passed over. */
static int32_t params_tensor(ParamsReader *reader, const DLTensor *input) {
  uint32_t ndim, axis, bytes, expected;
  const uint8_t *data;
  DLDataType type;
  int same;
  params_expect(reader, PARAMS_TENSOR_MAGIC_LOW);
  params_expect(reader, PARAMS_TENSOR_MAGIC_HIGH);
  (void)params_take(reader, 16); /* reserved; device type and number */
  ndim = params_number(reader, 4);
  type.code = (uint8_t)params_number(reader, 1);
  type.bits = (uint8_t)params_number(reader, 1);
  type.lanes = (uint16_t)params_number(reader, 2);
  same = input == NULL || ((uint32_t)input->ndim == ndim && input->dtype.code == type.code &&
                           input->dtype.bits == type.bits && input->dtype.lanes == type.lanes);
  for (axis = 0; axis < ndim && !reader->broken; axis++) {
    const uint32_t extent = params_number_64(reader);
    if (same && input != NULL && input->shape[axis] != extent) {
      same = 0;
    }
  }
  bytes = params_number_64(reader);
  data = params_take(reader, bytes);
  if (reader->broken) {
    return TVM_ERROR_PARAMS;
  }
  if (input == NULL) {
    return TVM_OK;
  }
  if (!same || !tensor_size(input, &expected) || expected != bytes) {
    return TVM_ERROR_TENSOR;
  }
  if (bytes != 0) {
    memcpy(input->data, data, bytes);
  }
  return TVM_OK;
}

int32_t TVMGraphRuntime_LoadParams(TVMGraphRuntime *graph, const void *params,
                                   size_t params_bytes) {
  ParamsReader tensors = {params, params_bytes, 0};
  ParamsReader names;
  uint32_t count, name_bytes, i;
  int32_t status = TVM_OK;
  if (graph == NULL || params == NULL) {
    return TVM_ERROR_ARGUMENT;
  }
  if (graph->runtime->running) {
    return TVM_ERROR_BUSY;
  }
  params_expect(&tensors, PARAMS_LIST_MAGIC_LOW);
  params_expect(&tensors, PARAMS_LIST_MAGIC_HIGH);
  (void)params_take(&tensors, 8); /* reserved */
  count = params_number_64(&tensors);
  names = tensors;
  for (i = 0; i < count && !tensors.broken; i++) {
    (void)params_name(&tensors, &name_bytes);
  }
  if (params_number_64(&tensors) != count || tensors.broken) {
    return TVM_ERROR_PARAMS;
  }
  for (i = 0; i < count && status == TVM_OK; i++) {
    const char *const name = params_name(&names, &name_bytes);
    status = params_tensor(&tensors, graph_find_input(graph, name, name_bytes));
  }
  return status == TVM_OK && tensors.left != 0 ? TVM_ERROR_PARAMS : status;
}

UTVM_SMALL_END
