/* An RPC server with the tests' operators, for every port. */
#include "operators.h"
#include "utvm/platform.h"
#include "utvm/rpc_port.h"

#define FRAME_BYTES (256 + TVM_RPC_FRAME_OVERHEAD)
#define BLOCKS 4

static const TVMFuncRegistry registry = {OPERATOR_NAMES, operator_functions};
static int64_t memory[512];
static uint8_t receive[FRAME_BYTES];
static uint8_t reply[FRAME_BYTES];
static TVMRpcBlock blocks[BLOCKS];
static TVMRpcFunctionStatistics functions[OPERATOR_COUNT];
static char log[96];
static TVMRuntime runtime;
static TVMRpcServer server;

static int32_t set_up(void) {
  TVMRuntimeConfig config = {memory, sizeof memory, &registry, TVMRpcServer_Log, &server};
  TVMRpcServerConfig server_config = {0};
  utvm_rpc_port_open(&server_config.port, &server_config.seed);
  utvm_rpc_port_watch(&server.running_function);
  server_config.runtime = &runtime;
  server_config.receive = receive;
  server_config.reply = reply;
  server_config.frame_bytes = FRAME_BYTES;
  server_config.blocks = blocks;
  server_config.block_count = BLOCKS;
  server_config.functions = functions;
  server_config.log = log;
  server_config.log_bytes = sizeof log;
  server_config.fault = utvm_rpc_port_fault();
  return TVMInitializeRuntime(&runtime, &config) == TVM_OK
             ? TVMRpcServer_Init(&server, &server_config)
             : TVM_ERROR_ARGUMENT;
}

int main(void) {
  int32_t status;
  utvm_platform_init();
  do {
    status = set_up() == TVM_OK ? TVMRpcServer_Run(&server) : TVM_ERROR_ARGUMENT;
    if (status == TVM_RPC_RESET) {
      utvm_rpc_port_reset();
    }
  } while (status == TVM_RPC_RESET);
  return status == TVM_OK ? 0 : 1;
}
