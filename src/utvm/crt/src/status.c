/* The names of the status codes, for logs. */
#include "utvm/runtime.h"
#include "utvm/small.h"

UTVM_SMALL_BEGIN

const char *TVMStatusName(int32_t status) {
  static const char *const names[] = {
      "TVM_OK",
      "TVM_ERROR_ARGUMENT",
      "TVM_ERROR_MEMORY",
      "TVM_ERROR_WORKSPACE",
      "TVM_ERROR_WORKSPACE_ORDER",
      "TVM_ERROR_BUSY",
      "TVM_ERROR_JSON",
      "TVM_ERROR_JSON_DEPTH",
      "TVM_ERROR_GRAPH",
      "TVM_ERROR_FUNCTION",
      "TVM_ERROR_NAME",
      "TVM_ERROR_INDEX",
      "TVM_ERROR_TENSOR",
      "TVM_ERROR_PARAMS",
      "TVM_ERROR_ARGUMENT_COUNT",
      "TVM_ERROR_ARGUMENT_TYPE",
  };
  const int32_t count = (int32_t)(sizeof names / sizeof names[0]);
  return status <= 0 && status > -count ? names[-status] : "an unknown status";
}

UTVM_SMALL_END
