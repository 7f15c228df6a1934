/* The commands inside requests; private to the RPC server. */
#ifndef UTVM_RPC_COMMANDS_H
#define UTVM_RPC_COMMANDS_H

#include "utvm/rpc.h"

enum { RPC_NO_FUNCTION = -1 };

/* One command: its arguments, and room for its result. */
typedef struct {
  const uint8_t *arguments;
  uint32_t bytes; /* left of the arguments */
  uint8_t *result;
  uint32_t room;
  uint32_t result_bytes;
} RpcCommand;

/* Runs the command of a number; returns its status. */
int32_t rpc_command_run(TVMRpcServer *server, uint32_t number, RpcCommand *command);

/* Frees all blocks of the session. */
void rpc_blocks_free(TVMRpcServer *server);

/* How many operators the registry has. */
uint32_t rpc_function_count(const TVMRpcServer *server);

#endif
