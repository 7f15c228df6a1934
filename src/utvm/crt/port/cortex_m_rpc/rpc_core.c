/* Cortex-M: the counter of an RPC server, its watchdog, and what is noted of a fault.
 *
 * The counter is the one of the debug unit (DWT) where it counts, else SysTick. SysTick also ticks
 * 100 times a second, which extends either counter over its wraps and drives the watchdog. Where no
 * exception comes of it (our emulator) there is no watchdog. Armv6-M to Armv8-M Mainline. */
#include "../rpc/rpc_core.h"
#include "utvm/small.h"

UTVM_SMALL_BEGIN

#define CORE_REGISTER(address) (*(volatile uint32_t *)(address))
#define CORE_DWT_CTRL CORE_REGISTER(0xE0001000u)
#define CORE_DWT_CYCCNT CORE_REGISTER(0xE0001004u)
#define CORE_SYST_CSR CORE_REGISTER(0xE000E010u)
#define CORE_SYST_RVR CORE_REGISTER(0xE000E014u)
#define CORE_SYST_CVR CORE_REGISTER(0xE000E018u)
#define CORE_NVIC_ENABLE 0xE000E100u
#define CORE_NVIC_DISABLE 0xE000E180u
#define CORE_NVIC_CLEAR 0xE000E280u
#define CORE_AIRCR CORE_REGISTER(0xE000ED0Cu)
#define CORE_CFSR CORE_REGISTER(0xE000ED28u)
#define CORE_HFSR CORE_REGISTER(0xE000ED2Cu)
#define CORE_MMFAR CORE_REGISTER(0xE000ED34u)
#define CORE_BFAR CORE_REGISTER(0xE000ED38u)
#define CORE_DEMCR CORE_REGISTER(0xE000EDFCu)
#define CORE_AIRCR_RESET 0x05FA0004u
#define CORE_DEMCR_TRACE (1u << 24)
#define CORE_DWT_CTRL_COUNT 1u
#define CORE_SYST_COUNTED (1u << 16)
#define CORE_SYST_RUN 7u /* on, with its exception, from the core's clock */
#define CORE_SYST_MOST 0x1000000u
#define CORE_EXCEPTION_SYSTICK 15u
#define CORE_TICKS_PER_SECOND 100u
#define CORE_TICK_MS (1000u / CORE_TICKS_PER_SECOND)
#define CORE_PROBE_READS 64
#define CORE_PROBE_STEPS 1000u

static uint32_t core_has_dwt;
static uint32_t core_tick_steps; /* of SysTick, from one to the next */
static volatile uint32_t core_ticked;
static uint32_t core_last; /* what the counter showed last */
static uint64_t core_steps;
static volatile uint32_t core_ticks_left; /* until the watchdog bites; 0: it sleeps */

uint32_t startup_tick_is_fault(void);
void startup_tick(void);
void startup_fault(void);
void startup_report(const uint32_t *frame);

/* Steps since the last time. Called at least once in a wrap: SysTick's exception does that. It counts
 * down; a wrap is told by the flag, set as it becomes 0 and cleared by reading, and not by the count:
 * exceptions that come with one latency all read the same. */
static void core_update(void) {
  uint32_t now;
  if (core_has_dwt) {
    now = CORE_DWT_CYCCNT;
    core_steps += now - core_last;
  } else {
    uint32_t wrapped;
    now = CORE_SYST_CVR;
    wrapped = CORE_SYST_CSR & CORE_SYST_COUNTED;
    if (wrapped) {
      now = CORE_SYST_CVR; /* the first may be from before the wrap */
      core_steps += core_tick_steps;
      now = now == 0 ? core_tick_steps : now;
    }
    core_steps += core_last;
    core_steps -= now;
  }
  core_last = now;
}

static uint64_t core_cycles(void *context) {
  uint64_t steps;
  (void)context;
  __asm__ volatile("cpsid i" ::: "memory");
  core_update();
  steps = core_steps;
  __asm__ volatile("cpsie i" ::: "memory");
  return steps;
}

static void core_watchdog(void *context, uint32_t milliseconds) {
  (void)context;
  /* One tick more: the first may come at once. */
  core_ticks_left = milliseconds == 0 ? 0 : (milliseconds - 1) / CORE_TICK_MS + 2;
}

/* Whether the debug unit's counter changes. */
static uint32_t core_dwt_counts(void) {
  uint32_t first;
  uint32_t i;
  CORE_DEMCR |= CORE_DEMCR_TRACE;
  CORE_DWT_CTRL |= CORE_DWT_CTRL_COUNT;
  first = CORE_DWT_CYCCNT;
  for (i = 0; i < CORE_PROBE_READS && CORE_DWT_CYCCNT == first; i++) {
  }
  return CORE_DWT_CYCCNT != first;
}

static void core_systick_start(uint32_t steps) {
  CORE_SYST_RVR = steps - 1;
  CORE_SYST_CVR = 0;
  CORE_SYST_CSR = CORE_SYST_RUN;
}

/* Whether SysTick is there and its exception comes when it has counted down. */
static uint32_t core_systick_ticks(void) {
  uint32_t i;
  core_ticked = 0;
  core_systick_start(CORE_PROBE_STEPS);
  if (CORE_SYST_RVR != CORE_PROBE_STEPS - 1) {
    return 0;
  }
  while (!core_ticked && (CORE_SYST_CSR & CORE_SYST_COUNTED) == 0) {
  }
  for (i = 0; i < CORE_PROBE_READS && !core_ticked; i++) {
  }
  return core_ticked;
}

/* Without ticks SysTick counts as long as it can. */
void rpc_core_start(TVMRpcPort *port) {
  const uint32_t clock_hz = (uint32_t)(uintptr_t)__utvm_clock_hz;
  const uint32_t steps = clock_hz / CORE_TICKS_PER_SECOND;
  uint32_t i;
  core_ticks_left = 0;
  core_has_dwt = core_dwt_counts();
  core_tick_steps = CORE_SYST_MOST;
  if (core_systick_ticks()) {
    core_tick_steps = steps > 0 && steps < CORE_SYST_MOST ? steps : CORE_SYST_MOST;
    port->watchdog = core_watchdog;
  }
  core_systick_start(core_tick_steps);
  for (i = 0; i < CORE_PROBE_STEPS && CORE_SYST_CVR == 0; i++) {
  } /* it loads its first value, which is not a wrap */
  core_steps = 0;
  core_last = core_has_dwt ? CORE_DWT_CYCCNT : CORE_SYST_CVR;
  port->cycles = core_cycles;
  port->cycles_per_second = clock_hz;
}

/* The interrupt has no vector: it is enabled only while none is taken, and wakes all the same. So
 * does SysTick, which must be left to its exception now and then. */
void rpc_core_wait(uint32_t interrupt) {
  const uint32_t offset = interrupt / 32u * 4u;
  const uint32_t bit = 1u << interrupt % 32u;
  __asm__ volatile("cpsid i" ::: "memory");
  CORE_REGISTER(CORE_NVIC_ENABLE + offset) = bit;
  __asm__ volatile("dsb\n\twfi" ::: "memory");
  CORE_REGISTER(CORE_NVIC_DISABLE + offset) = bit;
  __asm__ volatile("dsb\n\tisb" ::: "memory");
  CORE_REGISTER(CORE_NVIC_CLEAR + offset) = bit;
  __asm__ volatile("cpsie i\n\tisb" ::: "memory");
}

void rpc_core_reset(void) {
  __asm__ volatile("dsb" ::: "memory");
  CORE_AIRCR = CORE_AIRCR_RESET;
  for (;;) {
  }
}

/* Whether the watchdog bites now. */
__attribute__((used)) uint32_t startup_tick_is_fault(void) {
  core_ticked = 1;
  core_update();
  if (core_ticks_left > 0) {
    core_ticks_left--;
    return core_ticks_left == 0;
  }
  return 0;
}

/* SysTick's exception. It goes on as a fault, with the stack as the core left it, or returns. */
__attribute__((naked)) void startup_tick(void) {
  __asm__ volatile("push {r4, lr}\n\t"
                   "bl startup_tick_is_fault\n\t"
                   "pop {r4}\n\t"
                   "pop {r1}\n\t"
                   "cmp r0, #0\n\t"
                   "beq 1f\n\t"
                   "ldr r0, =startup_fault\n\t"
                   "bx r0\n\t"
                   "1: bx r1\n\t"
                   ".ltorg");
}

/* Instead of the report of start-up. The frame that an exception pushes is read only if it lies in the
 * stack; after an overflow it was never written. */
__attribute__((used)) void startup_report(const uint32_t *frame) {
  uint32_t registers[TVM_RPC_FAULT_REGISTERS] = {0};
  uint32_t exception;
  uint32_t reason = TVM_RPC_FAULT_CORTEX_M;
  __asm__ volatile("mrs %0, ipsr" : "=r"(exception));
  registers[2] = (uint32_t)(uintptr_t)frame;
  if (frame < __utvm_stack_low) {
    reason = TVM_RPC_FAULT_STACK;
  } else {
    registers[0] = frame[6];
    registers[1] = frame[5];
  }
  if (exception == CORE_EXCEPTION_SYSTICK) {
    reason = TVM_RPC_FAULT_WATCHDOG;
  }
  registers[3] = exception;
#if __ARM_ARCH_ISA_THUMB >= 2
  registers[4] = CORE_CFSR;
  registers[5] = CORE_HFSR;
  registers[6] = CORE_MMFAR;
  registers[7] = CORE_BFAR;
#endif
  rpc_port_die(reason, registers);
}

UTVM_SMALL_END
