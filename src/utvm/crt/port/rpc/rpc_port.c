/* The RPC port of microcontrollers: the stream over a UART, marks on the stack, faults.
 *
 * A fault, a watchdog that bites or a main that ends restarts the program. What it died of lies in
 * the section .bss.noinit, which no start clears, and is reported as the fault of the next life. The
 * core's part is in rpc_core.h, the UART's in ../uart. Start-up and linker script are those of the
 * core's other port. */
#include "utvm/rpc_port.h"

#include "../uart/uart.h"
#include "rpc_core.h"
#include "utvm/mem.h"
#include "utvm/platform.h"
#include "utvm/small.h"

UTVM_SMALL_BEGIN

#define PORT_MAGIC 0x6C617374u
#define PORT_NO_FUNCTION 0xFFFFFFFFu
#define PORT_PAINT 0x5A5AA5A5u
#define PORT_OWN_WORDS 16 /* of the function that paints, below its frame */

/* The last words of a life. */
typedef struct {
  uint32_t magic; /* PORT_MAGIC: there are some */
  uint32_t starts;
  TVMRpcFault fault;
} PortLastWords;

__attribute__((section(".bss.noinit"))) static PortLastWords port_last_words;
static TVMRpcFault port_fault;
static uint32_t port_has_fault;
static const uint32_t *port_running_function;

static int32_t port_read(void *context, uint8_t *data, size_t capacity) {
  const uint32_t interrupt = UART_NUMBER(__utvm_uart_interrupt);
  size_t got = 0;
  (void)context;
  while (got == 0) {
    int32_t byte = uart_get();
    while (byte >= 0) {
      data[got++] = (uint8_t)byte;
      byte = got < capacity ? uart_get() : -1;
    }
    if (got == 0 && interrupt != UART_NO_INTERRUPT) {
      rpc_core_wait(interrupt);
    }
  }
  return (int32_t)got;
}

static int32_t port_write(void *context, const uint8_t *data, size_t bytes) {
  (void)context;
  while (bytes-- > 0) {
    uart_put(*data++);
  }
  return 0;
}

/* Everything below the caller was painted when this was last called; what is no longer was used. */
static __attribute__((noinline)) uint32_t port_stack_used(void *context) {
  uint32_t *const end = (uint32_t *)__builtin_frame_address(0) - PORT_OWN_WORDS;
  uint32_t *word = __utvm_stack_low;
  uint32_t used;
  (void)context;
  while (word < end && *word == PORT_PAINT) {
    word++;
  }
  used = (uint32_t)((uintptr_t)__utvm_stack_top - (uintptr_t)word);
  while (word < end) {
    *(volatile uint32_t *)word++ = PORT_PAINT;
  }
  return used;
}

void utvm_rpc_port_open(TVMRpcPort *port, uint32_t *seed) {
  memset(port, 0, sizeof *port);
  port->read = port_read;
  port->write = port_write;
  port->stack_used = port_stack_used;
  port->stack_bytes = (uint32_t)((uintptr_t)__utvm_stack_top - (uintptr_t)__utvm_stack_low);
  (void)port_stack_used(NULL);
  uart_open();
  rpc_core_start(port);
  port_has_fault = port_last_words.magic == PORT_MAGIC;
  port_fault = port_last_words.fault;
  port_last_words.magic = 0;
  /* On real memory it starts as anything. */
  *seed = port_last_words.starts++ ^ (uint32_t)port->cycles(NULL);
}

const TVMRpcFault *utvm_rpc_port_fault(void) {
  return port_has_fault ? &port_fault : NULL;
}

void utvm_rpc_port_watch(const uint32_t *running_function) {
  port_running_function = running_function;
}

void utvm_rpc_port_reset(void) {
  rpc_core_reset();
}

void rpc_port_die(uint32_t reason, const uint32_t *registers) {
  TVMRpcFault *fault = &port_last_words.fault;
  fault->function = port_running_function == NULL ? PORT_NO_FUNCTION : *port_running_function;
  fault->reason = reason;
  memcpy(fault->registers, registers, sizeof fault->registers);
  port_last_words.magic = PORT_MAGIC;
  rpc_core_reset();
}

void utvm_platform_init(void) {
}

/* There is no other input than the requests of the host. */
int utvm_platform_read(void *data, size_t bytes) {
  (void)data;
  (void)bytes;
  return UTVM_PLATFORM_END;
}

int utvm_platform_write(const void *data, size_t bytes) {
  (void)data;
  (void)bytes;
  return UTVM_PLATFORM_E_STREAM;
}

void utvm_platform_log(const char *text) {
  (void)text;
}

/* Only a main that ends gets here. */
void utvm_platform_exit(int status) {
  uint32_t registers[TVM_RPC_FAULT_REGISTERS] = {0};
  registers[0] = (uint32_t)status;
  rpc_port_die(TVM_RPC_FAULT_EXIT, registers);
}

UTVM_SMALL_END
