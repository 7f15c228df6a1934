/* RISC-V in machine mode: the counter of an RPC server, its watchdog, and what is noted of a trap.
 *
 * Counter and watchdog are mtime and mtimecmp (RISC-V Privileged Architecture, 3.2.1) of a CLINT: the
 * counter counts time, as mcycle's speed is not known. The clock of mtime is the board's clock. */
#include "../rpc/rpc_core.h"
#include "utvm/small.h"

UTVM_SMALL_BEGIN

#define CORE_TIMER(offset) (*(volatile uint32_t *)((uintptr_t)__utvm_machine_timer + (offset)))
#define CORE_COMPARE_LOW CORE_TIMER(0x4000u)
#define CORE_COMPARE_HIGH CORE_TIMER(0x4004u)
#define CORE_TIME_LOW CORE_TIMER(0xBFF8u)
#define CORE_TIME_HIGH CORE_TIMER(0xBFFCu)
#define CORE_MIE_TIMER 0x80u
#define CORE_MSTATUS_MIE 8u
#define CORE_CAUSE_TIMER 0x80000007u

void Reset_Handler(void);
void startup_report(const uint32_t *stack);

static uint64_t core_cycles(void *context) {
  uint32_t high;
  uint32_t low;
  (void)context;
  do {
    high = CORE_TIME_HIGH;
    low = CORE_TIME_LOW;
  } while (high != CORE_TIME_HIGH);
  return (uint64_t)high << 32 | low;
}

/* The upper half is out of reach while the lower one changes, so that nothing bites too early. */
static void core_compare(uint64_t time) {
  CORE_COMPARE_HIGH = 0xFFFFFFFFu;
  CORE_COMPARE_LOW = (uint32_t)time;
  CORE_COMPARE_HIGH = (uint32_t)(time >> 32);
}

static void core_watchdog(void *context, uint32_t milliseconds) {
  const uint32_t steps_per_ms = (uint32_t)(uintptr_t)__utvm_clock_hz / 1000u;
  core_compare(milliseconds == 0 ? UINT64_MAX
                                 : core_cycles(context) + (uint64_t)milliseconds * steps_per_ms);
}

void rpc_core_start(TVMRpcPort *port) {
  core_compare(UINT64_MAX);
  __asm__ volatile("csrs mie, %0\n\t"
                   "csrs mstatus, %1" ::"r"(CORE_MIE_TIMER),
                   "r"(CORE_MSTATUS_MIE)
                   : "memory");
  port->watchdog = core_watchdog;
  port->cycles = core_cycles;
  port->cycles_per_second = (uint32_t)(uintptr_t)__utvm_clock_hz;
}

/* Nothing sets up an interrupt controller. */
void rpc_core_wait(uint32_t interrupt) {
  (void)interrupt;
}

/* A start makes everything new that the program uses, so a jump there is enough. */
void rpc_core_reset(void) {
  __asm__ volatile("csrc mstatus, %0" ::"r"(CORE_MSTATUS_MIE) : "memory");
  Reset_Handler();
}

/* Instead of the report of start-up: what the core noted. */
__attribute__((used)) void startup_report(const uint32_t *stack) {
  uint32_t registers[TVM_RPC_FAULT_REGISTERS] = {0};
  uint32_t reason = TVM_RPC_FAULT_RISCV;
  __asm__ volatile("csrr %0, mepc\n\t"
                   "csrr %1, mcause\n\t"
                   "csrr %2, mtval"
                   : "=r"(registers[0]), "=r"(registers[3]), "=r"(registers[4]));
  registers[2] = (uint32_t)(uintptr_t)stack;
  if (stack < __utvm_stack_low) {
    reason = TVM_RPC_FAULT_STACK;
  }
  if (registers[3] == CORE_CAUSE_TIMER) {
    reason = TVM_RPC_FAULT_WATCHDOG;
  }
  rpc_port_die(reason, registers);
}

UTVM_SMALL_END
