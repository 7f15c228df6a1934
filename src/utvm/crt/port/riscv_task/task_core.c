/* RISC-V in machine mode under a debug port: entry, traps, the counter, the stop of utvm/task.h.
 *
 * The stack lies at the bottom of RAM. Physical memory protection makes 64 KiB below it unusable even
 * for machine mode, until the next reset, so that an overflow traps. The counter is mtime where the
 * board's data says where that is, since its speed is known, else mcycle. */
#include "utvm/small.h"
#include "utvm/task.h"

UTVM_SMALL_BEGIN

extern uint32_t __utvm_stack_low[];
extern uint32_t __utvm_stack_top[];
extern uint8_t __utvm_machine_timer[];

#define TASK_TIME_LOW (*(volatile uint32_t *)((uintptr_t)__utvm_machine_timer + 0xBFF8u))
/* pmpcfg0: entry 0 is off and only gives the lower bound; entry 1 is locked, top of range, no rights. */
#define TASK_PMP_CONFIG 0x8800u
#define TASK_GUARD_BYTES 0x10000u

void task_start(void);
void task_trap(void);
void task_report(const uint32_t *stack);

/* Two words: the emulator of a debugger may stop at the first only before it runs. */
__attribute__((naked)) void utvm_task_stop(void) {
  __asm__ volatile("1: ebreak\n\t"
                   "j 1b");
}

/* mie is cleared: interrupts of a former program have no handlers here. */
__attribute__((naked)) void utvm_task_entry(void) {
  __asm__ volatile("csrw mie, zero\n\t"
                   "la t0, task_trap\n\t"
                   "csrw mtvec, t0\n\t"
                   "j task_start");
}

static int task_has_mtime(void) {
  return (uintptr_t)__utvm_machine_timer != 0;
}

__attribute__((noinline, used)) void task_start(void) {
  const uintptr_t low = (uintptr_t)__utvm_stack_low;
  utvm_task_prepare(__builtin_frame_address(0));
  __asm__ volatile("csrw pmpaddr0, %0\n\t"
                   "csrw pmpaddr1, %1\n\t"
                   "csrw pmpcfg0, %2" ::"r"((low - TASK_GUARD_BYTES) >> 2),
                   "r"(low >> 2), "r"(TASK_PMP_CONFIG)
                   : "memory");
  utvm_task_area.counter = task_has_mtime() ? UTVM_TASK_COUNTER_MTIME : UTVM_TASK_COUNTER_MCYCLE;
  utvm_task_main();
  utvm_task_stop();
}

uint32_t utvm_task_cycles(void) {
  uint32_t cycles;
  if (task_has_mtime()) {
    return TASK_TIME_LOW;
  }
  __asm__ volatile("csrr %0, mcycle" : "=r"(cycles));
  return cycles;
}

/* Every trap is a fault. The stack may be what failed, so the report runs on a fresh one and gets the
 * old stack pointer. mtvec wants an address that is a multiple of 4. */
__attribute__((naked, aligned(4), used)) void task_trap(void) {
  __asm__ volatile("mv a0, sp\n\t"
                   "la sp, __utvm_stack_top\n\t"
                   "j task_report");
}

__attribute__((used)) void task_report(const uint32_t *stack) {
  uint32_t registers[UTVM_TASK_FAULT_REGISTERS] = {0};
  uint32_t reason = UTVM_TASK_FAULT_RISCV;
  __asm__ volatile("csrr %0, mepc\n\t"
                   "csrr %1, mcause\n\t"
                   "csrr %2, mtval"
                   : "=r"(registers[0]), "=r"(registers[3]), "=r"(registers[4]));
  registers[2] = (uint32_t)(uintptr_t)stack;
  if ((uintptr_t)stack < (uintptr_t)__utvm_stack_low ||
      (uintptr_t)stack > (uintptr_t)__utvm_stack_top) {
    reason = UTVM_TASK_FAULT_STACK;
  }
  utvm_task_die(reason, registers);
}

UTVM_SMALL_END
