/* Random requests, whole and damaged, against the server's receiver and commands.
 *
 * Built with sanitizers: any access outside of a buffer ends the program. Arguments: a seed and the
 * number of sessions. Prints how many requests were answered, so that a run that reached nothing is
 * seen. With -DLIBFUZZER it is a target of libFuzzer instead: its bytes are lengths and payloads of
 * requests, and then also the stream itself. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "operators.h"
#include "utvm/rpc.h"

#define PAYLOAD_BYTES 256
#define FRAME_BYTES (PAYLOAD_BYTES + TVM_RPC_FRAME_OVERHEAD)
#define BLOCKS 4
#define STREAM_BYTES 4096
#define REQUESTS 40

/* Those that end. */
#define FUZZ_OPERATORS 3
static const TVMFuncRegistry fuzz_registry = {"\3\0increment\0refuse\0exhaust", operator_functions};

static uint32_t random_state;
static uint64_t replies;
static uint64_t results_ok;

static uint32_t random_below(uint32_t limit) {
  random_state ^= random_state << 13;
  random_state ^= random_state >> 17;
  random_state ^= random_state << 5;
  return random_state % limit;
}

/* The host's end: takes what the server writes. */
typedef struct {
  TVMRpcReceiver receiver;
  uint8_t buffer[FRAME_BYTES];
  uint32_t session;
  uint64_t address; /* of the last block that was allocated */
} Host;

static int32_t host_take(void *context, const uint8_t *data, size_t bytes) {
  Host *host = context;
  TVMRpcHeader header;
  size_t i;
  for (i = 0; i < bytes; i++) {
    if (!TVMRpcReceiver_Byte(&host->receiver, data[i], &header)) {
      continue;
    }
    if (header.kind == TVM_RPC_WELCOME) {
      host->session = header.session;
    }
    if (header.kind == TVM_RPC_REPLY) {
      int32_t status;
      replies++;
      memcpy(&status, host->buffer + 12, sizeof status);
      results_ok += header.payload_bytes >= 8 && status == 0;
      if (header.payload_bytes == 16 && status == 0) {
        memcpy(&host->address, host->buffer + 20, sizeof host->address);
      }
    }
  }
  return 0;
}

/* The state of the watchdog: it must sleep whenever no operator runs. */
static uint32_t watchdog_ms;

static void watch(void *context, uint32_t milliseconds) {
  (void)context;
  watchdog_ms = milliseconds;
}

static uint32_t stack_used(void *context) {
  (void)context;
  return 100;
}

static int32_t no_read(void *context, uint8_t *data, size_t capacity) {
  (void)context;
  (void)data;
  (void)capacity;
  return 0;
}

static uint64_t count(void *context) {
  static uint64_t value;
  (void)context;
  return value += 1000;
}

/* Frames on their way to the server. */
typedef struct {
  uint8_t bytes[STREAM_BYTES];
  size_t used;
} Stream;

static int32_t stream_put(void *context, const uint8_t *data, size_t bytes) {
  Stream *stream = context;
  if (bytes > STREAM_BYTES - stream->used) {
    return -1;
  }
  memcpy(stream->bytes + stream->used, data, bytes);
  stream->used += bytes;
  return 0;
}

static TVMRpcPort stream_port(Stream *stream) {
  TVMRpcPort port = {0};
  port.context = stream;
  port.read = no_read;
  port.write = stream_put;
  return port;
}

#if !defined(LIBFUZZER)
static uint32_t random_number(const Host *host) {
  static const uint32_t numbers[] = {0, 1, 2, 4, 8, 16, 255, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF};
  return random_below(3) == 0 ? (uint32_t)host->address
                              : numbers[random_below(sizeof numbers / sizeof numbers[0])];
}

/* A command that is right more often than not. */
static uint32_t random_command(const Host *host, uint8_t *at) {
  static const uint16_t sizes[] = {6, 4, 8, 20, 12, 20, 32, 0, 0, 0, 0, 4, 4};
  uint8_t arguments[64];
  uint32_t number = 1 + random_below(14);
  uint16_t bytes = number <= 13 ? sizes[number - 1] : 5;
  uint32_t i;
  for (i = 0; i < sizeof arguments; i += 4) {
    const uint32_t value = random_number(host);
    memcpy(arguments + i, &value, sizeof value);
  }
  if (number == 1) {
    memcpy(arguments, "refuse", 6);
  } else if (number == 2) {
    const uint32_t size = random_below(600);
    memcpy(arguments, &size, sizeof size);
  } else if (number >= 3 && number <= 5) {
    memcpy(arguments, &host->address, sizeof host->address);
  } else if (number == 6 || number == 7) {
    uint8_t *call = arguments + (number == 7 ? 12 : 0);
    const uint8_t tensor[] = {0, 8, 1, 0, 4, 0, 0, 0};
    const uint32_t three[] = {1 + random_below(3), 1 + random_below(3), random_below(2)};
    memcpy(arguments, three, number == 7 ? sizeof three : 0);
    call[0] = (uint8_t)random_below(3);
    call[1] = 0;
    call[2] = (uint8_t)(random_below(8) == 0 ? random_below(20) : 1);
    call[3] = 0;
    memcpy(call + 4, &host->address, sizeof host->address);
    memcpy(call + 12, tensor, sizeof tensor);
  }
  if (number == 10 && random_below(20) != 0) {
    number = 11;
  }
  for (i = random_below(8) == 0; i > 0; i--) {
    /* Not the numbers of repetitions: a server does as many as it is asked to. */
    arguments[number == 7 ? 12 + random_below(20) : random_below(sizeof arguments)] ^=
        (uint8_t)(1u << random_below(8));
    bytes = (uint16_t)(random_below(4) == 0 ? random_below(sizeof arguments) : bytes);
  }
  at[0] = (uint8_t)number;
  at[1] = 0;
  at[2] = (uint8_t)bytes;
  at[3] = (uint8_t)(bytes >> 8);
  memcpy(at + 4, arguments, bytes);
  return 4u + bytes;
}

static void random_request(const Host *host, uint32_t sequence, Stream *stream) {
  const TVMRpcPort port = stream_port(stream);
  TVMRpcHeader header = {TVM_RPC_REQUEST, 0, 0, 0};
  uint8_t payload[PAYLOAD_BYTES];
  header.session = host->session;
  header.sequence = sequence;
  while (header.payload_bytes < PAYLOAD_BYTES - 68 && random_below(3) != 0) {
    header.payload_bytes += random_command(host, payload + header.payload_bytes);
  }
  (void)TVMRpcFrame_Write(&port, &header, payload);
}

static void damage(Stream *stream) {
  size_t i;
  const size_t at = random_below((uint32_t)stream->used);
  switch (random_below(3)) {
  case 0:
    stream->bytes[at] ^= (uint8_t)(1u << random_below(8));
    break;
  case 1:
    for (i = at; i + 1 < stream->used; i++) {
      stream->bytes[i] = stream->bytes[i + 1];
    }
    stream->used--;
    break;
  default:
    if (stream->used < STREAM_BYTES) {
      for (i = stream->used++; i > at; i--) {
        stream->bytes[i] = stream->bytes[i - 1];
      }
    }
  }
}
#endif

/* A server with heap memory of exact sizes, so that the sanitizer sees every step beyond them. */
typedef struct {
  void *memory;
  uint8_t *receive;
  uint8_t *reply;
  TVMRpcBlock *blocks;
  TVMRpcFunctionStatistics *functions;
  char *log;
  TVMRuntime runtime;
  TVMRpcServer server;
} Device;

static void device_open(Device *device, Host *host) {
  TVMRuntimeConfig config = {NULL, 1024, &fuzz_registry, TVMRpcServer_Log, &device->server};
  TVMRpcServerConfig server = {0};
  config.memory = device->memory = malloc(1024);
  server.port.context = host;
  server.port.read = no_read;
  server.port.write = host_take;
  server.port.cycles = count;
  server.port.cycles_per_second = 1000000;
  server.port.watchdog = watch;
  server.port.stack_used = stack_used;
  server.port.stack_bytes = 101;
  server.runtime = &device->runtime;
  server.receive = device->receive = malloc(FRAME_BYTES);
  server.reply = device->reply = malloc(FRAME_BYTES);
  server.frame_bytes = FRAME_BYTES;
  server.blocks = device->blocks = malloc(BLOCKS * sizeof *server.blocks);
  server.block_count = BLOCKS;
  server.functions = device->functions = malloc(FUZZ_OPERATORS * sizeof *server.functions);
  server.log = device->log = malloc(64);
  server.log_bytes = 64;
  memset(host, 0, sizeof *host);
  TVMRpcReceiver_Init(&host->receiver, host->buffer, sizeof host->buffer);
  if (TVMInitializeRuntime(&device->runtime, &config) != TVM_OK ||
      TVMRpcServer_Init(&device->server, &server) != TVM_OK) {
    abort();
  }
}

static void device_close(Device *device) {
  free(device->memory);
  free(device->receive);
  free(device->reply);
  free(device->blocks);
  free(device->functions);
  free(device->log);
}

static void say_hello(Device *device) {
  Stream stream = {{0}, 0};
  const TVMRpcPort port = stream_port(&stream);
  const TVMRpcHeader header = {TVM_RPC_HELLO, 2, 1 + random_below(0xFFFF), 0};
  const uint8_t versions[] = {TVM_RPC_VERSION, TVM_RPC_VERSION};
  (void)TVMRpcFrame_Write(&port, &header, versions);
  (void)TVMRpcServer_Receive(&device->server, stream.bytes, stream.used);
}

#if defined(LIBFUZZER)
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
  Device device;
  Host host;
  random_state = 1;
  device_open(&device, &host);
  device.server.config.port.cycles = NULL; /* no timing: it repeats as often as it is asked to */
  say_hello(&device);
  while (bytes > 1) {
    Stream stream = {{0}, 0};
    const TVMRpcPort port = stream_port(&stream);
    const size_t rest = bytes - 1;
    TVMRpcHeader header = {TVM_RPC_REQUEST, 0, host.session, device.server.sequence + 1};
    header.payload_bytes = rest < data[0] ? (uint32_t)rest : data[0];
    (void)TVMRpcFrame_Write(&port, &header, data + 1);
    if (TVMRpcServer_Receive(&device.server, stream.bytes, stream.used) != TVM_OK ||
        TVMRpcServer_Receive(&device.server, data, bytes) != TVM_OK) {
      break;
    }
    data += 1 + header.payload_bytes;
    bytes = rest - header.payload_bytes;
  }
  device_close(&device);
  if (watchdog_ms != 0) {
    abort();
  }
  return 0;
}
#else
static void run_session(void) {
  Device device;
  Host host;
  uint32_t i;
  device_open(&device, &host);
  say_hello(&device);
  for (i = 0; i < REQUESTS; i++) {
    Stream stream = {{0}, 0};
    random_request(&host, device.server.sequence + (random_below(10) != 0), &stream);
    if (random_below(4) == 0) {
      damage(&stream);
    }
    if (TVMRpcServer_Receive(&device.server, stream.bytes, stream.used) == TVM_RPC_RESET) {
      break;
    }
    if (watchdog_ms != 0) {
      abort();
    }
  }
  device_close(&device);
}

int main(int argc, char **argv) {
  uint32_t sessions;
  if (argc != 3) {
    return 2;
  }
  random_state = 1u + (uint32_t)strtoul(argv[1], NULL, 10);
  for (sessions = (uint32_t)strtoul(argv[2], NULL, 10); sessions > 0; sessions--) {
    run_session();
  }
  printf("%llu %llu\n", (unsigned long long)replies, (unsigned long long)results_ok);
  return 0;
}
#endif
