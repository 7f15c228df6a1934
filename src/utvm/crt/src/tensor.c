/* Sizes and comparisons of tensors: see tensor.h. */
#include "tensor.h"
#include "utvm/small.h"

UTVM_SMALL_BEGIN

#define TENSOR_LIMIT ((uint32_t)1 << 31)

int tensor_size(const DLTensor *tensor, uint32_t *bytes) {
  uint32_t size = ((uint32_t)tensor->dtype.bits + 7) / 8;
  int32_t axis;
  if (size == 0 || tensor->dtype.lanes != 1) {
    return 0;
  }
  for (axis = 0; axis < tensor->ndim; axis++) {
    const int64_t extent = tensor->shape[axis];
    if (extent < 0 || extent >= TENSOR_LIMIT ||
        (extent > 0 && size > (TENSOR_LIMIT - 1) / (uint32_t)extent)) {
      return 0;
    }
    size *= (uint32_t)extent;
  }
  *bytes = size;
  return 1;
}

int tensor_matches(const DLTensor *a, const DLTensor *b) {
  int32_t axis;
  if (a->ndim != b->ndim || a->dtype.code != b->dtype.code || a->dtype.bits != b->dtype.bits ||
      a->dtype.lanes != b->dtype.lanes || b->strides != NULL || b->data == NULL) {
    return 0;
  }
  for (axis = 0; axis < a->ndim; axis++) {
    if (a->shape[axis] != b->shape[axis]) {
      return 0;
    }
  }
  return 1;
}

uint8_t *tensor_data(const DLTensor *tensor) {
  return (uint8_t *)tensor->data + (size_t)tensor->byte_offset;
}

UTVM_SMALL_END
