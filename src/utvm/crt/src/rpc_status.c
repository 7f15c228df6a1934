/* The names of the server's status codes, for logs. */
#include "utvm/rpc.h"
#include "utvm/small.h"

UTVM_SMALL_BEGIN

const char *TVMRpcStatusName(int32_t status) {
  static const char *const names[] = {
      "TVM_ERROR_RPC_COMMAND", "TVM_ERROR_RPC_ADDRESS", "TVM_ERROR_RPC_SPACE",
      "TVM_ERROR_RPC_BLOCKS",  "TVM_ERROR_RPC_VERSION", "TVM_ERROR_RPC_TIMER",
      "TVM_ERROR_RPC_STREAM",  "TVM_ERROR_RPC_STACK",
  };
  const int32_t count = (int32_t)(sizeof names / sizeof names[0]);
  const int32_t place = TVM_ERROR_RPC_COMMAND - status;
  return status <= TVM_ERROR_RPC_COMMAND && place < count ? names[place] : TVMStatusName(status);
}

UTVM_SMALL_END
