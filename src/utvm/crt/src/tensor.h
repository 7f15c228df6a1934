/* Sizes and comparisons of tensors; private to the runtime. */
#ifndef UTVM_TENSOR_H
#define UTVM_TENSOR_H

#include "utvm/runtime.h"

/* The bytes of all elements; 0 if they are 2^31 or more, or the type is none that is known. */
int tensor_size(const DLTensor *tensor, uint32_t *bytes);

/* Whether shape and type are the same, and the layout of b is compact. */
int tensor_matches(const DLTensor *a, const DLTensor *b);

/* The first element. */
uint8_t *tensor_data(const DLTensor *tensor);

#endif
