/* Arm MPS2 boards (AN385, AN386, AN500): the RPC stream over UART0, the counter in TIMER0.
 *
 * Registers are those of the CMSDK APB UART and timer (Arm DDI 0479). The counter counts clock
 * cycles; it has 32 bits and is extended here, right as long as it is read once in 171 s at 25 MHz.
 * A fault or reset restarts the core; what the console said before lies in memory that no start
 * clears and is reported as the fault. Used with start-up and linker script of the port cortex_m. */
#include "utvm/rpc_port.h"

#include "utvm/mem.h"
#include "utvm/platform.h"

#define MPS2_REGISTER(address) (*(volatile uint32_t *)(address))
#define MPS2_UART_DATA MPS2_REGISTER(0x40004000u)
#define MPS2_UART_STATE MPS2_REGISTER(0x40004004u)
#define MPS2_UART_CTRL MPS2_REGISTER(0x40004008u)
#define MPS2_UART_BAUDDIV MPS2_REGISTER(0x40004010u)
#define MPS2_UART_TX_FULL 1u
#define MPS2_UART_RX_FULL 2u
#define MPS2_UART_ENABLE 3u /* receiver and transmitter */
#define MPS2_TIMER_CTRL MPS2_REGISTER(0x40000000u)
#define MPS2_TIMER_VALUE MPS2_REGISTER(0x40000004u)
#define MPS2_TIMER_RELOAD MPS2_REGISTER(0x40000008u)
#define MPS2_CLOCK_HZ 25000000u
#define MPS2_BAUD 115200u
#define MPS2_AIRCR MPS2_REGISTER(0xE000ED0Cu)
#define MPS2_AIRCR_RESET 0x05FA0004u
#define MPS2_CFSR MPS2_REGISTER(0xE000ED28u)
#define MPS2_HFSR MPS2_REGISTER(0xE000ED2Cu)
#define MPS2_BFAR MPS2_REGISTER(0xE000ED38u)

#define MPS2_LAST_MAGIC 0x6C617374u
#define MPS2_NO_FUNCTION 0xFFFFFFFFu

/* The last words of a program, in the last 128 bytes of RAM, which no start clears. A program so large
 * that it needs them has none. */
typedef struct {
  uint32_t magic;
  uint32_t function;
  uint32_t text_bytes;
  uint32_t starts;
  char text[112];
} Mps2LastWords;
#define MPS2_LAST_WORDS 0x203FFF80u
extern uint32_t __utvm_bss_end[];

static uint32_t mps2_last_count;
static uint64_t mps2_cycles_before;
static const uint32_t *mps2_running_function;
static TVMRpcFault mps2_fault;
static char mps2_fault_text[sizeof(((Mps2LastWords *)0)->text)];

static Mps2LastWords *mps2_last_words(void) {
  return (uintptr_t)__utvm_bss_end <= MPS2_LAST_WORDS ? (Mps2LastWords *)MPS2_LAST_WORDS : NULL;
}

static int32_t mps2_read(void *context, uint8_t *data, size_t capacity) {
  int32_t got = 0;
  (void)context;
  while (got == 0) {
    while ((size_t)got < capacity && (MPS2_UART_STATE & MPS2_UART_RX_FULL) != 0) {
      data[got++] = (uint8_t)MPS2_UART_DATA;
    }
  }
  return got;
}

static int32_t mps2_write(void *context, const uint8_t *data, size_t bytes) {
  (void)context;
  while (bytes-- > 0) {
    while ((MPS2_UART_STATE & MPS2_UART_TX_FULL) != 0) {
    }
    MPS2_UART_DATA = *data++;
  }
  return 0;
}

static uint64_t mps2_cycles(void *context) {
  const uint32_t count = ~MPS2_TIMER_VALUE; /* it counts down */
  (void)context;
  mps2_cycles_before += count - mps2_last_count;
  mps2_last_count = count;
  return mps2_cycles_before;
}

/* Makes the fault report of what the last run said. Returns a number that differs from start to start
 * on real memory: the content that it had before it was first written. */
static uint32_t mps2_take_last_words(void) {
  Mps2LastWords *last = mps2_last_words();
  if (last == NULL) {
    return 0;
  }
  if (last->magic == MPS2_LAST_MAGIC && last->text_bytes <= sizeof last->text) {
    memcpy(mps2_fault_text, last->text, last->text_bytes);
    mps2_fault.function = last->function;
    mps2_fault.text = mps2_fault_text;
    mps2_fault.text_bytes = last->text_bytes;
  }
  last->magic = 0;
  last->text_bytes = 0;
  return last->starts++;
}

void utvm_rpc_port_open(TVMRpcPort *port, uint32_t *seed) {
  MPS2_UART_BAUDDIV = MPS2_CLOCK_HZ / MPS2_BAUD;
  MPS2_UART_CTRL = MPS2_UART_ENABLE;
  MPS2_TIMER_RELOAD = 0xFFFFFFFFu;
  MPS2_TIMER_VALUE = 0xFFFFFFFFu;
  MPS2_TIMER_CTRL = 1;
  port->context = NULL;
  port->read = mps2_read;
  port->write = mps2_write;
  port->cycles = mps2_cycles;
  port->cycles_per_second = MPS2_CLOCK_HZ;
  *seed = MPS2_TIMER_VALUE ^ mps2_take_last_words();
}

const TVMRpcFault *utvm_rpc_port_fault(void) {
  return mps2_fault.text == NULL ? NULL : &mps2_fault;
}

void utvm_rpc_port_watch(const uint32_t *running_function) {
  mps2_running_function = running_function;
}

void utvm_rpc_port_reset(void) {
  __asm__ volatile("dsb" ::: "memory");
  MPS2_AIRCR = MPS2_AIRCR_RESET;
  for (;;) {
  }
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
  Mps2LastWords *last = mps2_last_words();
  while (last != NULL && *text != '\0' && last->text_bytes < sizeof last->text) {
    last->text[last->text_bytes++] = *text++;
  }
}

static void mps2_log_register(const char *label, uint32_t value) {
  char digits[9];
  uint32_t i;
  for (i = 0; i < 8; i++) {
    const uint32_t digit = value >> (28 - 4 * i) & 15u;
    digits[i] = (char)(digit < 10 ? '0' + digit : 'a' + (digit - 10));
  }
  digits[8] = '\0';
  utvm_platform_log(label);
  utvm_platform_log(digits);
}

/* Only the fault handler and a main that ends get here. */
void utvm_platform_exit(int status) {
  Mps2LastWords *last = mps2_last_words();
  (void)status;
  mps2_log_register(" cfsr 0x", MPS2_CFSR);
  mps2_log_register(" hfsr 0x", MPS2_HFSR);
  mps2_log_register(" bfar 0x", MPS2_BFAR);
  if (last != NULL) {
    last->function = mps2_running_function == NULL ? MPS2_NO_FUNCTION : *mps2_running_function;
    last->magic = MPS2_LAST_MAGIC;
  }
  utvm_rpc_port_reset();
}
