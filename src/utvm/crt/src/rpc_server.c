/* Sessions and requests of the RPC server (SPEC.md, section "RPC").
 *
 * A request is run once: its reply is kept until the next request, and a request that comes a
 * second time, because its reply was lost, is answered with the kept one. */
#include "utvm/rpc.h"

#include "registry.h"
#include "rpc_bytes.h"
#include "rpc_commands.h"
#include "utvm/mem.h"
#include "utvm/small.h"

UTVM_SMALL_BEGIN

#define RPC_PAYLOAD_OFFSET 12u
#define RPC_COMMAND_HEAD 4u
#define RPC_RESULT_HEAD 8u
#define RPC_WELCOME_BYTES 28u
#define RPC_NONCE_BITS 0xFFFFu
#define RPC_READ_BYTES 64u
#define RPC_FLAG_FAULT 1u
#define RPC_FLAG_WATCHDOG 2u

int32_t TVMRpcServer_Init(TVMRpcServer *server, const TVMRpcServerConfig *config) {
  if (server == NULL || config == NULL || config->runtime == NULL || config->receive == NULL ||
      config->reply == NULL || config->port.read == NULL || config->port.write == NULL ||
      (config->blocks == NULL && config->block_count > 0) ||
      config->frame_bytes < TVM_RPC_MIN_PAYLOAD + TVM_RPC_FRAME_OVERHEAD ||
      config->frame_bytes > TVM_RPC_MAX_PAYLOAD + TVM_RPC_FRAME_OVERHEAD) {
    return TVM_ERROR_ARGUMENT;
  }
  memset(server, 0, sizeof *server);
  server->config = *config;
  server->nonce = config->seed;
  server->running_function = (uint32_t)RPC_NO_FUNCTION;
  TVMRpcReceiver_Init(&server->receiver, config->receive, config->frame_bytes);
  if (config->block_count > 0) {
    memset(config->blocks, 0, config->block_count * sizeof *config->blocks);
  }
  if (config->functions != NULL) {
    memset(config->functions, 0, rpc_function_count(server) * sizeof *config->functions);
  }
  return TVM_OK;
}

static void rpc_log_text(TVMRpcServer *server, const char *text, size_t bytes) {
  memcpy(server->config.log + server->log_used, text, bytes);
  server->log_used += (uint32_t)bytes;
}

void TVMRpcServer_Log(void *context, int32_t status, const char *operator_name, size_t name_bytes) {
  TVMRpcServer *server = context;
  const char *name = TVMRpcStatusName(status);
  const size_t length = registry_name_bytes(name);
  if (server->config.log == NULL) {
    return;
  }
  if (length + 3 > server->config.log_bytes - server->log_used ||
      name_bytes > server->config.log_bytes - server->log_used - length - 3) {
    server->log_lost++;
    return;
  }
  rpc_log_text(server, name, length);
  rpc_log_text(server, ": ", 2);
  rpc_log_text(server, operator_name, name_bytes);
  rpc_log_text(server, "\n", 1);
}

static int32_t rpc_answer(const TVMRpcServer *server, uint8_t kind, uint32_t session,
                          uint32_t sequence, const uint8_t *payload, uint32_t payload_bytes) {
  TVMRpcHeader header;
  header.kind = kind;
  header.payload_bytes = payload_bytes;
  header.session = session;
  header.sequence = sequence;
  return TVMRpcFrame_Write(&server->config.port, &header, payload);
}

/* A number that this server has not used for the last 65535 sessions. */
static uint32_t rpc_next_nonce(TVMRpcServer *server) {
  do {
    server->nonce++;
  } while ((server->nonce & RPC_NONCE_BITS) == 0);
  return server->nonce & RPC_NONCE_BITS;
}

static int32_t rpc_welcome(TVMRpcServer *server, const TVMRpcHeader *header, int32_t status) {
  uint8_t payload[RPC_WELCOME_BYTES];
  const uint32_t session = status == TVM_OK ? server->session : header->session;
  rpc_put32(payload, (uint32_t)status);
  payload[4] = TVM_RPC_VERSION;
  payload[5] = TVM_RPC_VERSION;
  payload[6] = TVM_RPC_VERSION;
  payload[7] = (uint8_t)((server->config.fault != NULL ? RPC_FLAG_FAULT : 0u) |
                         (server->config.port.watchdog != NULL ? RPC_FLAG_WATCHDOG : 0u));
  rpc_put32(payload + 8, server->config.frame_bytes - TVM_RPC_FRAME_OVERHEAD);
  rpc_put32(payload + 12, rpc_function_count(server));
  rpc_put32(payload + 16, server->config.port.cycles_per_second);
  rpc_put32(payload + 20, (uint32_t)server->config.runtime->config.memory_bytes);
  rpc_put32(payload + 24, server->config.block_count);
  return rpc_answer(server, TVM_RPC_WELCOME, session, header->sequence, payload, sizeof payload);
}

/* Opens a session. A second HELLO of the same nonce only asks for its answer again. */
static int32_t rpc_hello(TVMRpcServer *server, const TVMRpcHeader *header, const uint8_t *payload) {
  if (header->payload_bytes < 2 || header->session == 0 || header->session > RPC_NONCE_BITS) {
    return TVM_OK;
  }
  if (payload[0] > TVM_RPC_VERSION || payload[1] < TVM_RPC_VERSION) {
    return rpc_welcome(server, header, TVM_ERROR_RPC_VERSION);
  }
  if ((server->session & RPC_NONCE_BITS) != header->session) {
    rpc_blocks_free(server);
    server->session = header->session | rpc_next_nonce(server) << 16;
    server->sequence = 0;
    server->reply_bytes = 0;
    server->watchdog_ms = 0;
  }
  return rpc_welcome(server, header, TVM_OK);
}

/* Runs the commands of a request up to the first that fails, and makes the reply. Room for one more
 * result without content is kept, so that there is always one that says why it is the last. */
static void rpc_run_commands(TVMRpcServer *server, const uint8_t *payload, uint32_t left) {
  const uint32_t capacity = server->config.frame_bytes - TVM_RPC_FRAME_OVERHEAD;
  uint32_t used = 0;
  int32_t status = TVM_OK;
  while (left > 0 && status == TVM_OK) {
    RpcCommand command = {NULL, 0, server->config.reply + used + RPC_RESULT_HEAD, 0, 0};
    if (left < RPC_COMMAND_HEAD || rpc_get16(payload + 2) > left - RPC_COMMAND_HEAD) {
      status = TVM_ERROR_RPC_COMMAND;
    } else if (capacity - used < 2 * RPC_RESULT_HEAD) {
      status = TVM_ERROR_RPC_SPACE;
    } else {
      const uint32_t bytes = RPC_COMMAND_HEAD + rpc_get16(payload + 2);
      command.arguments = payload + RPC_COMMAND_HEAD;
      command.bytes = bytes - RPC_COMMAND_HEAD;
      command.room = capacity - used - 2 * RPC_RESULT_HEAD;
      status = rpc_command_run(server, payload[0], &command);
      payload += bytes;
      left -= bytes;
    }
    if (status != TVM_OK) {
      command.result_bytes = 0;
    }
    rpc_put32(server->config.reply + used, (uint32_t)status);
    rpc_put32(server->config.reply + used + 4, command.result_bytes);
    used += RPC_RESULT_HEAD + command.result_bytes;
  }
  server->reply_bytes = used;
}

static int32_t rpc_request(TVMRpcServer *server, const TVMRpcHeader *header,
                           const uint8_t *payload) {
  if (server->session == 0 || header->session != server->session) {
    return rpc_answer(server, TVM_RPC_NO_SESSION, header->session, header->sequence, payload, 0);
  }
  if (header->sequence == server->sequence + 1) {
    server->sequence++;
    rpc_run_commands(server, payload, header->payload_bytes);
  } else if (header->sequence == server->sequence && header->sequence != 0) {
    server->repeated_frames++;
  } else {
    return TVM_OK;
  }
  return rpc_answer(server, TVM_RPC_REPLY, server->session, server->sequence, server->config.reply,
                    server->reply_bytes);
}

int32_t TVMRpcServer_Receive(TVMRpcServer *server, const uint8_t *data, size_t bytes) {
  const uint8_t *payload = server->config.receive + RPC_PAYLOAD_OFFSET;
  TVMRpcHeader header;
  size_t i;
  for (i = 0; i < bytes; i++) {
    int32_t status = TVM_OK;
    if (!TVMRpcReceiver_Byte(&server->receiver, data[i], &header)) {
      continue;
    }
    server->frames++;
    if (header.kind == TVM_RPC_HELLO) {
      status = rpc_hello(server, &header, payload);
    } else if (header.kind == TVM_RPC_REQUEST) {
      status = rpc_request(server, &header, payload);
    }
    if (status != TVM_OK) {
      return status;
    }
    if (server->reset) {
      return TVM_RPC_RESET;
    }
  }
  return TVM_OK;
}

int32_t TVMRpcServer_Run(TVMRpcServer *server) {
  uint8_t data[RPC_READ_BYTES];
  for (;;) {
    const int32_t got = server->config.port.read(server->config.port.context, data, sizeof data);
    int32_t status;
    if (got <= 0) {
      return got == 0 ? TVM_OK : TVM_ERROR_RPC_STREAM;
    }
    status = TVMRpcServer_Receive(server, data, (size_t)got);
    if (status != TVM_OK) {
      return status;
    }
  }
}

UTVM_SMALL_END
