/* The RPC server of benchmarks/rpc.py: one operator that does nothing, frames of 1 KiB. */
#include "utvm/platform.h"
#include "utvm/rpc_port.h"

#define FRAME_BYTES (1024 + TVM_RPC_FRAME_OVERHEAD)
#define BLOCKS 4

static int32_t nothing(TVMValue *args, int *type_codes, int num_args, TVMValue *ret_value,
                       int *ret_type_code, void *resource_handle) {
  (void)args;
  (void)type_codes;
  (void)num_args;
  (void)ret_value;
  (void)ret_type_code;
  (void)resource_handle;
  return TVM_OK;
}

static const TVMBackendPackedCFunc functions[] = {nothing};
static const TVMFuncRegistry registry = {"\1\0nothing", functions};
static int64_t memory[(64 * 1024 + 64) / 8];
static uint8_t receive[FRAME_BYTES];
static uint8_t reply[FRAME_BYTES];
static TVMRpcBlock blocks[BLOCKS];
static TVMRpcFunctionStatistics statistics[1];
static TVMRuntime runtime;
static TVMRpcServer server;

static int32_t set_up(void) {
  const TVMRuntimeConfig config = {memory, sizeof memory, &registry, TVMRpcServer_Log, &server};
  TVMRpcServerConfig server_config = {0};
  utvm_rpc_port_open(&server_config.port, &server_config.seed);
  utvm_rpc_port_watch(&server.running_function);
  server_config.runtime = &runtime;
  server_config.receive = receive;
  server_config.reply = reply;
  server_config.frame_bytes = FRAME_BYTES;
  server_config.blocks = blocks;
  server_config.block_count = BLOCKS;
  server_config.functions = statistics;
  server_config.fault = utvm_rpc_port_fault();
  return TVMInitializeRuntime(&runtime, &config) == TVM_OK
             ? TVMRpcServer_Init(&server, &server_config)
             : TVM_ERROR_ARGUMENT;
}

int main(void) {
  int32_t status = TVM_RPC_RESET;
  utvm_platform_init();
  while (status == TVM_RPC_RESET) {
    status = set_up() == TVM_OK ? TVMRpcServer_Run(&server) : TVM_ERROR_ARGUMENT;
    if (status == TVM_RPC_RESET) {
      utvm_rpc_port_reset();
    }
  }
  return status == TVM_OK ? 0 : 1;
}
