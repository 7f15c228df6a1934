/* What the commands of a request do (SPEC.md, section "RPC").
 *
 * Addresses on the wire are the device's own. Only memory that the session has allocated is read,
 * written or given to operators. */
#include "rpc_commands.h"

#include "rpc_bytes.h"
#include "tensor.h"
#include "utvm/mem.h"
#include "utvm/small.h"

UTVM_SMALL_BEGIN

#define RPC_FUNCTION_STATISTICS_BYTES 20u

/* The next bytes of the arguments; null if there are fewer. */
static const uint8_t *rpc_take(RpcCommand *command, uint32_t bytes) {
  const uint8_t *at = command->arguments;
  if (bytes > command->bytes) {
    return NULL;
  }
  command->arguments += bytes;
  command->bytes -= bytes;
  return at;
}

static int32_t rpc_give(RpcCommand *command, const void *data, uint32_t bytes) {
  if (bytes > command->room) {
    return TVM_ERROR_RPC_SPACE;
  }
  memcpy(command->result, data, bytes);
  command->result_bytes = bytes;
  return TVM_OK;
}

uint32_t rpc_function_count(const TVMRpcServer *server) {
  const TVMFuncRegistry *registry = server->config.runtime->config.registry;
  return registry == NULL ? 0 : rpc_get16((const uint8_t *)registry->names);
}

/* The bytes at an address of the wire, if all lie in one block of the session; else null. */
static uint8_t *rpc_memory(const TVMRpcServer *server, uint64_t address, uint32_t bytes) {
  uint32_t i;
  for (i = 0; i < server->config.block_count; i++) {
    const TVMRpcBlock *block = &server->config.blocks[i];
    const uint64_t start = (uint64_t)(uintptr_t)block->data;
    if (block->data != NULL && address >= start && address - start <= block->bytes &&
        bytes <= block->bytes - (uint32_t)(address - start)) {
      return block->data + (uint32_t)(address - start);
    }
  }
  return NULL;
}

void rpc_blocks_free(TVMRpcServer *server) {
  uint32_t i;
  for (i = 0; i < server->config.block_count; i++) {
    TVMRpcBlock *block = &server->config.blocks[i];
    if (block->data != NULL) {
      (void)TVMRuntime_Free(server->config.runtime, block->data);
      block->data = NULL;
    }
  }
}

/* name -> function (16 bits) */
static int32_t rpc_lookup(TVMRpcServer *server, RpcCommand *command) {
  const TVMFuncRegistry *registry = server->config.runtime->config.registry;
  const uint32_t count = rpc_function_count(server);
  TVMBackendPackedCFunc function;
  uint8_t result[2];
  uint32_t i;
  const int32_t status =
      TVMFuncRegistry_Lookup(registry, (const char *)command->arguments, command->bytes, &function);
  if (status != TVM_OK) {
    return status;
  }
  for (i = 0; i + 1 < count && registry->funcs[i] != function; i++) {
  }
  rpc_put16(result, i);
  return rpc_give(command, result, sizeof result);
}

/* bytes (32 bits) -> address (64 bits) */
static int32_t rpc_allocate(TVMRpcServer *server, RpcCommand *command) {
  const uint8_t *at = rpc_take(command, 4);
  uint8_t result[8];
  void *data;
  uint32_t i;
  int32_t status;
  if (at == NULL || command->bytes > 0) {
    return TVM_ERROR_RPC_COMMAND;
  }
  for (i = 0; i < server->config.block_count && server->config.blocks[i].data != NULL; i++) {
  }
  if (i == server->config.block_count) {
    return TVM_ERROR_RPC_BLOCKS;
  }
  if (command->room < sizeof result) {
    return TVM_ERROR_RPC_SPACE;
  }
  status = TVMRuntime_Allocate(server->config.runtime, rpc_get32(at), &data);
  if (status != TVM_OK) {
    return status;
  }
  server->config.blocks[i].data = data;
  server->config.blocks[i].bytes = rpc_get32(at);
  rpc_put64(result, (uint64_t)(uintptr_t)data);
  return rpc_give(command, result, sizeof result);
}

/* address (64 bits) -> nothing */
static int32_t rpc_free(TVMRpcServer *server, RpcCommand *command) {
  const uint8_t *at = rpc_take(command, 8);
  uint32_t i;
  if (at == NULL || command->bytes > 0) {
    return TVM_ERROR_RPC_COMMAND;
  }
  for (i = 0; i < server->config.block_count; i++) {
    TVMRpcBlock *block = &server->config.blocks[i];
    if (block->data != NULL && (uint64_t)(uintptr_t)block->data == rpc_get64(at)) {
      const int32_t status = TVMRuntime_Free(server->config.runtime, block->data);
      block->data = NULL;
      return status;
    }
  }
  return TVM_ERROR_RPC_ADDRESS;
}

/* address (64 bits), bytes -> nothing */
static int32_t rpc_write(TVMRpcServer *server, RpcCommand *command) {
  const uint8_t *at = rpc_take(command, 8);
  uint8_t *memory;
  if (at == NULL) {
    return TVM_ERROR_RPC_COMMAND;
  }
  memory = rpc_memory(server, rpc_get64(at), command->bytes);
  if (memory == NULL) {
    return TVM_ERROR_RPC_ADDRESS;
  }
  memcpy(memory, command->arguments, command->bytes);
  return TVM_OK;
}

/* address (64 bits), count (32 bits) -> bytes */
static int32_t rpc_read(TVMRpcServer *server, RpcCommand *command) {
  const uint8_t *at = rpc_take(command, 12);
  const uint8_t *memory;
  if (at == NULL || command->bytes > 0) {
    return TVM_ERROR_RPC_COMMAND;
  }
  memory = rpc_memory(server, rpc_get64(at), rpc_get32(at + 8));
  if (memory == NULL) {
    return TVM_ERROR_RPC_ADDRESS;
  }
  return rpc_give(command, memory, rpc_get32(at + 8));
}

/* address (64 bits), type code, bits, dimensions (16 bits), each extent (32 bits) */
static int32_t rpc_take_tensor(TVMRpcServer *server, RpcCommand *command, DLTensor *tensor,
                               uint32_t *dimensions) {
  const uint8_t *at = rpc_take(command, 12);
  uint32_t element_bytes;
  uint32_t bytes;
  uint32_t ndim;
  uint32_t i;
  if (at == NULL) {
    return TVM_ERROR_RPC_COMMAND;
  }
  ndim = rpc_get16(at + 10);
  memset(tensor, 0, sizeof *tensor);
  tensor->device.device_type = kDLCPU;
  tensor->dtype.code = at[8];
  tensor->dtype.bits = at[9];
  tensor->dtype.lanes = 1;
  tensor->ndim = (int32_t)ndim;
  tensor->shape = server->shapes + *dimensions;
  if (ndim > TVM_RPC_MAX_DIMENSIONS - *dimensions) {
    return TVM_ERROR_RPC_COMMAND;
  }
  for (i = 0; i < ndim; i++) {
    const uint8_t *extent = rpc_take(command, 4);
    if (extent == NULL) {
      return TVM_ERROR_RPC_COMMAND;
    }
    tensor->shape[i] = (int64_t)rpc_get32(extent);
  }
  *dimensions += ndim;
  element_bytes = (tensor->dtype.bits + 7u) / 8u;
  if (element_bytes > 8 || (element_bytes & (element_bytes - 1)) != 0 ||
      !tensor_size(tensor, &bytes)) {
    return TVM_ERROR_TENSOR;
  }
  tensor->data = rpc_memory(server, rpc_get64(at), bytes);
  if (tensor->data == NULL || ((uintptr_t)tensor->data & (element_bytes - 1)) != 0) {
    return TVM_ERROR_RPC_ADDRESS;
  }
  return TVM_OK;
}

/* A call that is ready to be made: its arguments are in the server. */
typedef struct {
  uint32_t function;
  int count;
} RpcCall;

/* function (16 bits), number of arguments (16 bits), each argument */
static int32_t rpc_take_call(TVMRpcServer *server, RpcCommand *command, RpcCall *call) {
  const uint8_t *at = rpc_take(command, 4);
  uint32_t dimensions = 0;
  uint32_t count;
  uint32_t i;
  if (at == NULL) {
    return TVM_ERROR_RPC_COMMAND;
  }
  call->function = rpc_get16(at);
  count = rpc_get16(at + 2);
  if (call->function >= rpc_function_count(server)) {
    return TVM_ERROR_FUNCTION;
  }
  if (count > TVM_RPC_MAX_ARGUMENTS) {
    return TVM_ERROR_ARGUMENT_COUNT;
  }
  for (i = 0; i < count; i++) {
    const int32_t status = rpc_take_tensor(server, command, &server->tensors[i], &dimensions);
    if (status != TVM_OK) {
      return status;
    }
    server->values[i].v_handle = &server->tensors[i];
    server->type_codes[i] = kTVMDLTensorHandle;
  }
  call->count = (int)count;
  return command->bytes > 0 ? TVM_ERROR_RPC_COMMAND : TVM_OK;
}

static uint64_t rpc_cycles(const TVMRpcServer *server) {
  const TVMRpcPort *port = &server->config.port;
  return port->cycles == NULL ? 0 : port->cycles(port->context);
}

static uint32_t rpc_most(uint32_t one, uint32_t other) {
  return one > other ? one : other;
}

/* What calls that were made together took, for the statistics. */
typedef struct {
  uint32_t calls;
  uint64_t cycles;
  uint32_t workspace_bytes;
  uint32_t stack_bytes;
} RpcCost;

static void rpc_count(TVMRpcServer *server, uint32_t function, const RpcCost *cost) {
  TVMRpcFunctionStatistics *statistics = server->config.functions;
  server->calls += cost->calls;
  server->stack_peak_bytes = rpc_most(server->stack_peak_bytes, cost->stack_bytes);
  if (statistics != NULL) {
    statistics += function;
    statistics->calls += cost->calls;
    statistics->cycles += cost->cycles;
    statistics->workspace_peak_bytes =
        rpc_most(statistics->workspace_peak_bytes, cost->workspace_bytes);
    statistics->stack_peak_bytes = rpc_most(statistics->stack_peak_bytes, cost->stack_bytes);
  }
}

static uint32_t rpc_stack_used(const TVMRpcServer *server) {
  const TVMRpcPort *port = &server->config.port;
  return port->stack_used == NULL ? 0 : port->stack_used(port->context);
}

/* `milliseconds` until the watchdog bites, 0: it sleeps. */
static void rpc_watch(const TVMRpcServer *server, uint32_t milliseconds) {
  const TVMRpcPort *port = &server->config.port;
  if (port->watchdog != NULL) {
    port->watchdog(port->context, milliseconds);
  }
}

/* Calls the operator `times` times, up to the first failure; the cycles are those of all calls. An
 * operator that fails may leave workspaces behind: they are returned for it. */
static int32_t rpc_repeat_call(TVMRpcServer *server, const RpcCall *call, uint32_t times,
                               uint64_t *cycles) {
  TVMRuntime *runtime = server->config.runtime;
  const TVMBackendPackedCFunc function = runtime->config.registry->funcs[call->function];
  const size_t workspace_used = runtime->workspace_used;
  const size_t workspace_peak = runtime->workspace_peak_bytes;
  RpcCost cost = {0, 0, 0, 0};
  int32_t status = TVM_OK;
  runtime->workspace_peak_bytes = 0;
  (void)rpc_stack_used(server);
  server->running_function = call->function;
  rpc_watch(server, server->watchdog_ms);
  cost.cycles = rpc_cycles(server);
  for (; cost.calls < times && status == TVM_OK; cost.calls++) {
    status = function(server->values, server->type_codes, call->count, NULL, NULL, runtime);
  }
  cost.cycles = rpc_cycles(server) - cost.cycles;
  rpc_watch(server, 0);
  server->running_function = (uint32_t)RPC_NO_FUNCTION;
  cost.stack_bytes = rpc_stack_used(server);
  cost.workspace_bytes = (uint32_t)runtime->workspace_peak_bytes;
  if (runtime->workspace_peak_bytes < workspace_peak) {
    runtime->workspace_peak_bytes = workspace_peak;
  }
  runtime->workspace_used = workspace_used;
  rpc_count(server, call->function, &cost);
  *cycles = cost.cycles;
  if (cost.stack_bytes > 0 && cost.stack_bytes >= server->config.port.stack_bytes) {
    return TVM_ERROR_RPC_STACK;
  }
  return status;
}

/* a call -> nothing */
static int32_t rpc_call(TVMRpcServer *server, RpcCommand *command) {
  uint64_t cycles;
  RpcCall call;
  const int32_t status = rpc_take_call(server, command, &call);
  return status != TVM_OK ? status : rpc_repeat_call(server, &call, 1, &cycles);
}

/* repeat, number, min_repeat_ms (32 bits each), a call -> number (64 bits), cycles of `number` calls
 * (64 bits), `repeat` times. The number doubles until one repetition takes long enough. */
static int32_t rpc_time(TVMRpcServer *server, RpcCommand *command) {
  const uint8_t *at = rpc_take(command, 12);
  uint32_t repeat;
  uint32_t number;
  uint32_t i;
  uint64_t least;
  uint64_t cycles;
  RpcCall call;
  int32_t status;
  if (at == NULL) {
    return TVM_ERROR_RPC_COMMAND;
  }
  repeat = rpc_get32(at);
  number = rpc_get32(at + 4);
  least = (uint64_t)rpc_get32(at + 8) * (server->config.port.cycles_per_second / 1000u);
  status = rpc_take_call(server, command, &call);
  if (status != TVM_OK) {
    return status;
  }
  if (server->config.port.cycles == NULL || (rpc_get32(at + 8) != 0 && least == 0)) {
    return TVM_ERROR_RPC_TIMER;
  }
  if (repeat == 0 || number == 0) {
    return TVM_ERROR_RPC_COMMAND;
  }
  if (command->room < 8 || repeat > (command->room - 8) / 8) {
    return TVM_ERROR_RPC_SPACE;
  }
  for (i = 0; i < repeat && status == TVM_OK; i++) {
    status = rpc_repeat_call(server, &call, number, &cycles);
    while (i == 0 && status == TVM_OK && cycles < least && number < (uint32_t)1 << 31) {
      number *= 2;
      status = rpc_repeat_call(server, &call, number, &cycles);
    }
    rpc_put64(command->result + 8 + 8 * i, cycles);
  }
  rpc_put64(command->result, number);
  command->result_bytes = 8 + 8 * repeat;
  return status;
}

/* -> lines that were lost (32 bits), text; what is sent is forgotten here */
static int32_t rpc_logs(TVMRpcServer *server, RpcCommand *command) {
  uint32_t bytes = server->log_used;
  if (command->room < 4) {
    return TVM_ERROR_RPC_SPACE;
  }
  if (bytes > command->room - 4) {
    bytes = command->room - 4;
  }
  rpc_put32(command->result, server->log_lost);
  if (bytes > 0) {
    memcpy(command->result + 4, server->config.log, bytes);
    memmove(server->config.log, server->config.log + bytes, server->log_used - bytes);
  }
  server->log_used -= bytes;
  server->log_lost = 0;
  command->result_bytes = 4 + bytes;
  return TVM_OK;
}

/* -> numbers of the whole server, 32 bits each */
static int32_t rpc_statistics(TVMRpcServer *server, RpcCommand *command) {
  uint8_t result[36];
  rpc_put32(result, server->frames);
  rpc_put32(result + 4, server->receiver.damaged_frames);
  rpc_put32(result + 8, server->repeated_frames);
  rpc_put32(result + 12, server->calls);
  rpc_put32(result + 16, (uint32_t)server->config.runtime->config.memory_bytes);
  rpc_put32(result + 20, (uint32_t)server->config.runtime->memory_peak_bytes);
  rpc_put32(result + 24, (uint32_t)server->config.runtime->workspace_peak_bytes);
  rpc_put32(result + 28, server->config.port.stack_bytes);
  rpc_put32(result + 32, server->stack_peak_bytes);
  return rpc_give(command, result, sizeof result);
}

/* first function, how many (16 bits each) -> calls (32 bits), cycles (64 bits), most workspace, most
 * stack (32 bits each) of each */
static int32_t rpc_function_statistics(TVMRpcServer *server, RpcCommand *command) {
  const uint8_t *at = rpc_take(command, 4);
  uint32_t i;
  uint32_t first;
  uint32_t count;
  if (at == NULL) {
    return TVM_ERROR_RPC_COMMAND;
  }
  first = rpc_get16(at);
  count = rpc_get16(at + 2);
  if (server->config.functions == NULL || first + count > rpc_function_count(server)) {
    return TVM_ERROR_FUNCTION;
  }
  if (count > command->room / RPC_FUNCTION_STATISTICS_BYTES) {
    return TVM_ERROR_RPC_SPACE;
  }
  for (i = 0; i < count; i++) {
    uint8_t *to = command->result + i * RPC_FUNCTION_STATISTICS_BYTES;
    rpc_put32(to, server->config.functions[first + i].calls);
    rpc_put64(to + 4, server->config.functions[first + i].cycles);
    rpc_put32(to + 12, server->config.functions[first + i].workspace_peak_bytes);
    rpc_put32(to + 16, server->config.functions[first + i].stack_peak_bytes);
  }
  command->result_bytes = count * RPC_FUNCTION_STATISTICS_BYTES;
  return TVM_OK;
}

/* -> nothing, or function, reason, registers (32 bits each) */
static int32_t rpc_fault(TVMRpcServer *server, RpcCommand *command) {
  const TVMRpcFault *fault = server->config.fault;
  uint8_t result[8 + 4 * TVM_RPC_FAULT_REGISTERS];
  uint32_t i;
  if (fault == NULL) {
    return TVM_OK;
  }
  rpc_put32(result, fault->function);
  rpc_put32(result + 4, fault->reason);
  for (i = 0; i < TVM_RPC_FAULT_REGISTERS; i++) {
    rpc_put32(result + 8 + 4 * i, fault->registers[i]);
  }
  return rpc_give(command, result, sizeof result);
}

/* milliseconds for each later command that calls, 0: no limit (32 bits) -> nothing */
static int32_t rpc_watchdog(TVMRpcServer *server, RpcCommand *command) {
  const uint8_t *at = rpc_take(command, 4);
  if (at == NULL || command->bytes > 0) {
    return TVM_ERROR_RPC_COMMAND;
  }
  if (server->config.port.watchdog == NULL) {
    return TVM_ERROR_RPC_TIMER;
  }
  server->watchdog_ms = rpc_get32(at);
  return TVM_OK;
}

static int32_t rpc_reset(TVMRpcServer *server, RpcCommand *command) {
  (void)command;
  server->reset = 1;
  return TVM_OK;
}

typedef int32_t (*RpcHandler)(TVMRpcServer *server, RpcCommand *command);

int32_t rpc_command_run(TVMRpcServer *server, uint32_t number, RpcCommand *command) {
  static const RpcHandler handlers[] = {
      rpc_lookup,   rpc_allocate, rpc_free,  rpc_write, rpc_read,       rpc_call,
      rpc_time,     rpc_logs,     rpc_fault, rpc_reset, rpc_statistics, rpc_function_statistics,
      rpc_watchdog,
  };
  if (number == 0 || number > sizeof handlers / sizeof handlers[0]) {
    return TVM_ERROR_RPC_COMMAND;
  }
  return handlers[number - 1](server, command);
}

UTVM_SMALL_END
