/* The stream of a native RPC server: standard input and output; the counter counts nanoseconds. */
#define _POSIX_C_SOURCE 200809L

#include "utvm/rpc_port.h"

#include <errno.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int32_t host_read(void *context, uint8_t *data, size_t capacity) {
  ssize_t got;
  (void)context;
  do {
    got = read(STDIN_FILENO, data, capacity);
  } while (got < 0 && errno == EINTR);
  return (int32_t)got;
}

static int32_t host_write(void *context, const uint8_t *data, size_t bytes) {
  (void)context;
  while (bytes > 0) {
    const ssize_t put = write(STDOUT_FILENO, data, bytes);
    if (put < 0 && errno != EINTR) {
      return -1;
    }
    if (put > 0) {
      data += put;
      bytes -= (size_t)put;
    }
  }
  return 0;
}

static uint64_t host_cycles(void *context) {
  struct timespec now = {0, 0};
  (void)context;
  (void)clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void utvm_rpc_port_open(TVMRpcPort *port, uint32_t *seed) {
  memset(port, 0, sizeof *port);
  port->read = host_read;
  port->write = host_write;
  port->cycles = host_cycles;
  port->cycles_per_second = 1000000000u;
  *seed = (uint32_t)host_cycles(NULL);
}

const TVMRpcFault *utvm_rpc_port_fault(void) {
  return NULL;
}

void utvm_rpc_port_watch(const uint32_t *running_function) {
  (void)running_function;
}

void utvm_rpc_port_reset(void) {
}
