/* Cortex-M under a debug port: entry, vectors, faults, the counter, and the stop of utvm/task.h.
 *
 * The core may come from anywhere: out of reset without a program in flash, or halted in one. So
 * everything is set here: the vector table (in RAM; an Armv6-M core without VTOR keeps that in flash,
 * then the host's deadline has to notice faults), the FPU, the stack limit where there is one, and a
 * counter: the debug unit's (DWT) if it counts, else SysTick, whose exception extends it over its wraps.
 * Interrupts of the chip are masked: those that a former program enabled have no handlers here. */
#include "utvm/small.h"
#include "utvm/task.h"

UTVM_SMALL_BEGIN

#define TASK_REGISTER(address) (*(volatile uint32_t *)(address))
#define TASK_DWT_CTRL TASK_REGISTER(0xE0001000u)
#define TASK_DWT_CYCCNT TASK_REGISTER(0xE0001004u)
#define TASK_SYST_CSR TASK_REGISTER(0xE000E010u)
#define TASK_SYST_RVR TASK_REGISTER(0xE000E014u)
#define TASK_SYST_CVR TASK_REGISTER(0xE000E018u)
#define TASK_NVIC_ICER ((volatile uint32_t *)0xE000E180u)
#define TASK_VTOR TASK_REGISTER(0xE000ED08u)
#define TASK_SHCSR TASK_REGISTER(0xE000ED24u)
#define TASK_CFSR TASK_REGISTER(0xE000ED28u)
#define TASK_HFSR TASK_REGISTER(0xE000ED2Cu)
#define TASK_MMFAR TASK_REGISTER(0xE000ED34u)
#define TASK_BFAR TASK_REGISTER(0xE000ED38u)
#define TASK_CPACR TASK_REGISTER(0xE000ED88u)
#define TASK_DEMCR TASK_REGISTER(0xE000EDFCu)
#define TASK_CPACR_FPU (0xFu << 20) /* full access to coprocessors 10 and 11 */
#define TASK_DEMCR_TRACE (1u << 24)
#define TASK_SYST_RUN 7u /* on, with its exception, from the core's clock */
#define TASK_SYST_MOST 0x1000000u
#define TASK_CFSR_STKOF (1u << 20) /* the stack limit was passed */
#define TASK_PROBE_READS 16
#define TASK_START_READS 10000
#define TASK_INTERRUPT_WORDS 8
#define TASK_FRAME_BYTES 32u

#if __ARM_ARCH_ISA_THUMB >= 2
#define TASK_HAS_FAULT_REGISTERS 1
#else
#define TASK_HAS_FAULT_REGISTERS 0
#endif

extern uint32_t __utvm_stack_low[];
extern uint32_t __utvm_stack_top[];

static uint32_t task_has_dwt;
static volatile uint32_t task_wraps; /* of SysTick */

typedef void (*task_vector)(void);
typedef struct {
  uint32_t *stack_top;
  task_vector handlers[15]; /* reset, then all up to SysTick */
} task_table;
extern const task_table utvm_task_vectors;

void task_start(void);
void task_fault(void);
void task_tick(void);
void task_report(const uint32_t *frame);

__attribute__((naked)) void utvm_task_stop(void) {
  __asm__ volatile("1: bkpt 0\n\t"
                   "b 1b");
}

/* The FPU comes first: a compiler may use its registers anywhere else. */
void utvm_task_entry(void) {
#if defined(__ARM_FP)
  TASK_CPACR |= TASK_CPACR_FPU;
  __asm__ volatile("dsb\n\tisb" ::: "memory");
#endif
  task_start();
}

/* Whether the debug unit's counter changes; Armv6-M has none. */
static uint32_t task_dwt_counts(void) {
#if TASK_HAS_FAULT_REGISTERS
  uint32_t first;
  uint32_t i;
  TASK_DEMCR |= TASK_DEMCR_TRACE;
  TASK_DWT_CTRL |= 1u;
  first = TASK_DWT_CYCCNT;
  for (i = 0; i < TASK_PROBE_READS; i++) {
    if (TASK_DWT_CYCCNT != first) {
      return 1;
    }
  }
#endif
  return 0;
}

/* QEMU's SysTick takes its time before it counts. */
static void task_start_counter(void) {
  uint32_t i = 0;
  task_has_dwt = task_dwt_counts();
  utvm_task_area.counter = task_has_dwt ? UTVM_TASK_COUNTER_DWT : UTVM_TASK_COUNTER_SYSTICK;
  TASK_SYST_CSR = 0;
  task_wraps = 0;
  if (!task_has_dwt) {
    TASK_SYST_RVR = TASK_SYST_MOST - 1;
    TASK_SYST_CVR = 0;
    TASK_SYST_CSR = TASK_SYST_RUN;
    while (TASK_SYST_CVR == 0 && i < TASK_START_READS) {
      i++;
    }
  }
}

static void task_set_up_core(void) {
  uint32_t i;
  for (i = 0; i < TASK_INTERRUPT_WORDS; i++) {
    TASK_NVIC_ICER[i] = 0xFFFFFFFFu;
  }
  TASK_VTOR = (uint32_t)(uintptr_t)&utvm_task_vectors;
#if TASK_HAS_FAULT_REGISTERS
  TASK_SHCSR = 0;          /* all faults are HardFaults, whose cause CFSR has */
  TASK_CFSR = 0xFFFFFFFFu; /* ones clear it */
  TASK_HFSR = 0xFFFFFFFFu;
#endif
#if defined(__ARM_ARCH_8M_MAIN__) || defined(__ARM_ARCH_8_1M_MAIN__)
  __asm__ volatile("msr msplim, %0" ::"r"(__utvm_stack_low));
#endif
  __asm__ volatile("dsb\n\tisb\n\tcpsie i" ::: "memory");
}

__attribute__((noinline)) void task_start(void) {
  utvm_task_prepare(__builtin_frame_address(0));
  task_set_up_core();
  task_start_counter();
  utvm_task_main();
  TASK_SYST_CSR = 0;
  utvm_task_stop();
}

uint32_t utvm_task_cycles(void) {
  uint32_t wraps;
  uint32_t value;
  if (task_has_dwt) {
    return TASK_DWT_CYCCNT;
  }
  do {
    wraps = task_wraps;
    value = TASK_SYST_CVR;
  } while (wraps != task_wraps);
  /* It counts down, and is 0 when it starts and when it has just wrapped. */
  return value == 0 ? wraps * TASK_SYST_MOST : (wraps + 1) * TASK_SYST_MOST - value;
}

/* SysTick has come to zero. */
void task_tick(void) {
  task_wraps++;
}

/* Every other exception is a fault. The stack may be what failed, so the report runs on a fresh one;
 * r0 keeps the old stack pointer, where the exception frame is. */
__attribute__((naked)) void task_fault(void) {
  __asm__ volatile("mrs r0, msp\n\t"
                   "ldr r1, =__utvm_stack_top\n\t"
                   "msr msp, r1\n\t"
                   "bl task_report\n\t"
                   ".ltorg");
}

/* The frame that an exception pushes: r0-r3, r12, lr, pc, xpsr. It is read only if it lies in the
 * stack; after an overflow it was never written. */
__attribute__((used)) void task_report(const uint32_t *frame) {
  uint32_t registers[UTVM_TASK_FAULT_REGISTERS] = {0};
  uint32_t reason = UTVM_TASK_FAULT_CORTEX_M;
  registers[2] = (uint32_t)(uintptr_t)frame;
  if ((uintptr_t)frame < (uintptr_t)__utvm_stack_low ||
      (uintptr_t)frame > (uintptr_t)__utvm_stack_top - TASK_FRAME_BYTES) {
    reason = UTVM_TASK_FAULT_STACK;
  } else {
    registers[0] = frame[6];
    registers[1] = frame[5];
  }
  __asm__ volatile("mrs %0, ipsr" : "=r"(registers[3]));
#if TASK_HAS_FAULT_REGISTERS
  if (TASK_CFSR & TASK_CFSR_STKOF) { /* no frame was pushed either */
    reason = UTVM_TASK_FAULT_STACK;
    registers[0] = registers[1] = 0;
  }
  registers[4] = TASK_CFSR;
  registers[5] = TASK_HFSR;
  registers[6] = TASK_MMFAR;
  registers[7] = TASK_BFAR;
#endif
  utvm_task_die(reason, registers);
}

/* For libgcc's tables for unwinding, see startup.c of the port cortex_m. */
void __aeabi_unwind_cpp_pr0(void);
void __aeabi_unwind_cpp_pr0(void) {
}

__attribute__((section(".vectors"), used)) const task_table utvm_task_vectors = {
    __utvm_stack_top,
    {utvm_task_entry, task_fault, task_fault, task_fault, task_fault, task_fault, task_fault,
     task_fault, task_fault, task_fault, task_fault, task_fault, task_fault, task_fault, task_tick},
};

UTVM_SMALL_END
