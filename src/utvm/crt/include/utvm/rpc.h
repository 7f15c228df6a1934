/* The RPC server: a host calls the operators of this device over a stream of bytes.
 *
 * The protocol is described in SPEC.md, section "RPC". A program sets it up like this and has
 * nothing else to do; TVMRpcServer_Run ends only with the stream, or when the host asks for a reset:
 *
 *   TVMInitializeRuntime(&runtime, &runtime_config);   log: TVMRpcServer_Log, log_context: &server
 *   TVMRpcServer_Init(&server, &config);
 *   status = TVMRpcServer_Run(&server);
 *
 * Memory: the caller owns it all; nothing is allocated, there are no static variables. What the
 * configuration points to must stay where it is.
 *
 * Trust: none in the stream. Bytes of any content give replies or silence, never an access outside
 * of the buffers here and of the blocks that the session has allocated from the runtime's memory;
 * operators check their tensors' sizes themselves (TVMBackendCheckTensors). What an operator does
 * with values it is given is its own matter.
 *
 * Who may call: one caller at a time, not from interrupts. */
#ifndef UTVM_RPC_H
#define UTVM_RPC_H

#include <stddef.h>
#include <stdint.h>

#include "utvm/runtime.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Status codes of the server. The codes above -64 are those of runtime.h. */
enum {
  TVM_ERROR_RPC_COMMAND = -64, /* an unknown command, or one whose arguments are malformed */
  TVM_ERROR_RPC_ADDRESS = -65, /* memory that the session has not allocated, or not aligned */
  TVM_ERROR_RPC_SPACE = -66,   /* the reply does not fit in a frame */
  TVM_ERROR_RPC_BLOCKS = -67,  /* as many blocks as there can be are allocated */
  TVM_ERROR_RPC_VERSION = -68, /* the host speaks no version of the protocol that is known here */
  TVM_ERROR_RPC_TIMER = -69,   /* the device has no counter, or does not know how fast it counts */
  TVM_ERROR_RPC_STREAM = -70,  /* the port cannot read or write */
  TVM_ERROR_RPC_STACK = -71    /* the operator used the whole stack, or more */
};

enum {
  TVM_RPC_VERSION = 2,
  TVM_RPC_FRAME_OVERHEAD = 16, /* header and CRC around a frame's payload */
  TVM_RPC_MIN_PAYLOAD = 64,
  TVM_RPC_MAX_PAYLOAD = 65535,
  TVM_RPC_MAX_ARGUMENTS = 16,  /* of one call */
  TVM_RPC_MAX_DIMENSIONS = 64, /* of all arguments of one call together */
  TVM_RPC_RESET = 1            /* the host asks for a reset; no error */
};

/* What a port provides. */
typedef struct {
  void *context; /* passed to the functions */

  /* Waits for input; returns how many bytes it read: 1 to `capacity`; 0 at the stream's end;
   * negative if the stream cannot be read. */
  int32_t (*read)(void *context, uint8_t *data, size_t capacity);

  /* Writes all bytes; returns 0, or something negative if the stream cannot be written. */
  int32_t (*write)(void *context, const uint8_t *data, size_t bytes);

  /* A counter that never steps back; null: there is none. */
  uint64_t (*cycles)(void *context);
  uint32_t cycles_per_second; /* 0: unknown */

  /* Restarts the program with a fault that says so, unless it is called again within so many
   * milliseconds; 0 puts the watchdog to sleep. Null: there is none. */
  void (*watchdog)(void *context, uint32_t milliseconds);

  /* The most of the stack in bytes that was used since this was last called; null: unknown. */
  uint32_t (*stack_used)(void *context);
  uint32_t stack_bytes; /* how much there is; 0: unknown */
} TVMRpcPort;

/* Frames out of bytes. Fields are private but the counters. */
typedef struct {
  uint8_t *buffer; /* of a frame, without escapes */
  uint32_t buffer_bytes;
  uint32_t used;
  uint32_t escaped;
  uint32_t too_long;
  uint32_t damaged_frames; /* dropped: wrong CRC or length, too long, or too short */
} TVMRpcReceiver;

/* A frame's head; all numbers are little-endian on the wire, in this order. */
typedef struct {
  uint8_t kind; /* TVM_RPC_HELLO and so on */
  uint32_t payload_bytes;
  uint32_t session;
  uint32_t sequence;
} TVMRpcHeader;

enum {
  TVM_RPC_HELLO = 1,     /* host to device: open a session */
  TVM_RPC_WELCOME = 2,   /* device to host: it is open */
  TVM_RPC_REQUEST = 3,   /* host to device: commands */
  TVM_RPC_REPLY = 4,     /* device to host: their results */
  TVM_RPC_NO_SESSION = 5 /* device to host: the session of a request does not exist */
};

/* Memory that the session has allocated. */
typedef struct {
  uint8_t *data; /* null: not in use */
  uint32_t bytes;
} TVMRpcBlock;

typedef struct {
  uint32_t calls;
  uint64_t cycles;
  uint32_t workspace_peak_bytes;
  uint32_t stack_peak_bytes; /* with what the server uses around the call */
} TVMRpcFunctionStatistics;

/* What a program can die of. */
enum {
  TVM_RPC_FAULT_CORTEX_M = 1, /* an exception */
  TVM_RPC_FAULT_RISCV = 2,    /* a trap */
  TVM_RPC_FAULT_STACK = 3,    /* an exception or trap with the stack pointer below the stack */
  TVM_RPC_FAULT_WATCHDOG = 4, /* an operator took longer than it may */
  TVM_RPC_FAULT_EXIT = 5,     /* main has ended; the first register is its status */
  TVM_RPC_FAULT_REGISTERS = 8
};

/* What an earlier run of the program died of. */
typedef struct {
  uint32_t function; /* the operator that ran, by its place in the registry; all ones: none */
  uint32_t reason;   /* TVM_RPC_FAULT_CORTEX_M and so on */
  /* pc, link register, stack pointer; then exception number, CFSR, HFSR, MMFAR, BFAR, or mcause and
   * mtval. 0 where unknown. */
  uint32_t registers[TVM_RPC_FAULT_REGISTERS];
} TVMRpcFault;

typedef struct {
  TVMRpcPort port;
  TVMRuntime *runtime;  /* initialized; operators come from its registry */
  uint8_t *receive;     /* frame_bytes bytes */
  uint8_t *reply;       /* frame_bytes bytes */
  uint32_t frame_bytes; /* TVM_RPC_FRAME_OVERHEAD more than the largest payload */
  TVMRpcBlock *blocks;  /* for the blocks of a session; the first content does not matter */
  uint32_t block_count;
  TVMRpcFunctionStatistics *functions; /* one per operator of the registry; null: not counted */
  char *log;                           /* where the log is kept until the host reads it; or null */
  uint32_t log_bytes;
  const TVMRpcFault *fault; /* null: none */
  uint32_t seed;            /* should differ from start to start, such as a free-running counter */
} TVMRpcServerConfig;

/* All fields are private but running_function. */
typedef struct {
  TVMRpcServerConfig config;
  TVMRpcReceiver receiver;
  uint32_t session; /* 0: none */
  uint32_t sequence;
  uint32_t reply_bytes; /* of the payload of the last reply, which may be asked for again */
  uint32_t nonce;
  uint32_t frames;
  uint32_t repeated_frames;
  uint32_t calls;
  uint32_t log_used;
  uint32_t log_lost;
  uint32_t reset;
  uint32_t watchdog_ms;      /* of each command that calls; 0: none */
  uint32_t stack_peak_bytes; /* during calls */
  uint32_t running_function; /* by its place in the registry; all ones: none */
  DLTensor tensors[TVM_RPC_MAX_ARGUMENTS];
  TVMValue values[TVM_RPC_MAX_ARGUMENTS];
  int type_codes[TVM_RPC_MAX_ARGUMENTS];
  int64_t shapes[TVM_RPC_MAX_DIMENSIONS];
} TVMRpcServer;

/* Prepares a server; the configuration is copied, what it points to is kept. */
int32_t TVMRpcServer_Init(TVMRpcServer *server, const TVMRpcServerConfig *config);

/* Takes bytes of the stream, does what whole frames ask for and writes replies. Returns TVM_OK,
 * TVM_RPC_RESET, or TVM_ERROR_RPC_STREAM. */
int32_t TVMRpcServer_Receive(TVMRpcServer *server, const uint8_t *data, size_t bytes);

/* Reads and answers until the stream ends (TVM_OK), the host asks for a reset (TVM_RPC_RESET) or
 * the port fails (TVM_ERROR_RPC_STREAM). */
int32_t TVMRpcServer_Run(TVMRpcServer *server);

/* The name of a status code of the runtime or of the server; never null. */
const char *TVMRpcStatusName(int32_t status);

/* A TVMLogFunction; its context is the server. It may be called before TVMRpcServer_Init if all
 * bytes of the server are 0, and then does nothing. */
void TVMRpcServer_Log(void *server, int32_t status, const char *operator_name, size_t name_bytes);

/* Framing, for servers of other making and for tests. */

void TVMRpcReceiver_Init(TVMRpcReceiver *receiver, uint8_t *buffer, uint32_t buffer_bytes);

/* Takes one byte. Returns 1 if it ends a whole frame, else 0. The frame's header is then in
 * `header` and its payload at receiver->buffer + 12, until the next byte. */
int32_t TVMRpcReceiver_Byte(TVMRpcReceiver *receiver, uint8_t byte, TVMRpcHeader *header);

/* Writes a frame with header->payload_bytes bytes of payload. Returns TVM_OK or
 * TVM_ERROR_RPC_STREAM. */
int32_t TVMRpcFrame_Write(const TVMRpcPort *port, const TVMRpcHeader *header,
                          const uint8_t *payload);

#ifdef __cplusplus
}
#endif

#endif
