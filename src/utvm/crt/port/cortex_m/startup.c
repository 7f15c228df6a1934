/* Start-up of a Cortex-M: vector table, memory initialization, main, fault report.
 *
 * The linker script gives the addresses. The stack lies at the bottom of RAM, so that an overflow
 * leaves RAM and faults instead of overwriting data. No interrupt is enabled here. A port that lets
 * SysTick tick defines startup_tick, one that reports faults otherwise startup_report.
 * Written in C with three lines of assembly; works from Armv6-M to Armv8-M Mainline. */
#include <stdint.h>

#include "utvm/mem.h"
#include "utvm/platform.h"
#include "utvm/small.h"

UTVM_SMALL_BEGIN

/* Addresses that the linker script defines; only their addresses have a meaning. */
extern uint32_t __utvm_stack_top[];
extern uint32_t __utvm_data_load[];
extern uint32_t __utvm_data_start[];
extern uint32_t __utvm_data_end[];
extern uint32_t __utvm_bss_start[];
extern uint32_t __utvm_bss_end[];

#define STARTUP_CPACR (*(volatile uint32_t *)0xE000ED88u)
#define STARTUP_CPACR_FPU (0xFu << 20) /* full access to coprocessors 10 and 11 */
#define STARTUP_EXIT_FAULT 70

/* The lowest word of the stack, see the linker script. */
extern uint32_t startup_stack_low;
__attribute__((section(".bss.stack"), used)) uint32_t startup_stack_low;

int main(void);
void Reset_Handler(void);
void startup_run(void);
void startup_fault(void);
void startup_tick(void) __attribute__((weak, alias("startup_fault")));
void startup_report(const uint32_t *frame);

/* Runs before the FPU is on and before data is initialized: everything else is in startup_run,
 * which the compiler may not pull in here. */
void Reset_Handler(void) {
#if defined(__ARM_FP)
  STARTUP_CPACR |= STARTUP_CPACR_FPU;
  __asm__ volatile("dsb\n\tisb" ::: "memory");
#endif
  startup_run();
}

__attribute__((noinline)) void startup_run(void) {
  memcpy(__utvm_data_start, __utvm_data_load,
         (uintptr_t)__utvm_data_end - (uintptr_t)__utvm_data_start);
  memset(__utvm_bss_start, 0, (uintptr_t)__utvm_bss_end - (uintptr_t)__utvm_bss_start);
  utvm_platform_exit(main());
}

/* Every exception but reset: they are all faults here. The stack may be what failed, so the report
 * runs on a fresh one; r0 keeps the old stack pointer, where the exception frame is. */
__attribute__((naked)) void startup_fault(void) {
  __asm__ volatile("mrs r0, msp\n\t"
                   "ldr r1, =__utvm_stack_top\n\t"
                   "msr msp, r1\n\t"
                   "bl startup_report\n\t"
                   "1: b 1b\n\t"
                   ".ltorg");
}

static void startup_log_hex(const char *label, uint32_t value) {
  char text[9];
  uint32_t i;
  for (i = 0; i < 8; i++) {
    uint32_t digit = (value >> (28 - 4 * i)) & 0xFu;
    text[i] = (char)(digit < 10 ? '0' + digit : 'a' + (digit - 10));
  }
  text[8] = '\0';
  utvm_platform_log(label);
  utvm_platform_log(text);
}

/* The frame that an exception pushes: r0-r3, r12, lr, pc, xpsr. It is read only if it lies in the
 * stack; after an overflow it was never written. */
__attribute__((used, weak)) void startup_report(const uint32_t *frame) {
  extern uint32_t __utvm_stack_low[];
  utvm_platform_log("utvm: fault");
  if (frame < __utvm_stack_low) {
    utvm_platform_log(": stack overflow");
  } else {
    startup_log_hex(" at pc 0x", frame[6]);
    startup_log_hex(" lr 0x", frame[5]);
  }
  utvm_platform_log("\n");
  utvm_platform_exit(STARTUP_EXIT_FAULT);
}

/* The C library that unwinding would need is not there, and neither is unwinding: libgcc's 64-bit
 * division refers to this name in its tables, which the linker script throws away. */
void __aeabi_unwind_cpp_pr0(void);
void __aeabi_unwind_cpp_pr0(void) {
}

typedef void (*startup_vector)(void);
typedef struct {
  uint32_t *stack_top;
  startup_vector reset;
  startup_vector faults[13]; /* NMI, HardFault and the other system exceptions */
  startup_vector tick;       /* SysTick */
} startup_table;

extern const startup_table utvm_vectors;
__attribute__((section(".vectors"), used)) const startup_table utvm_vectors = {
    __utvm_stack_top,
    Reset_Handler,
    {startup_fault, startup_fault, startup_fault, startup_fault, startup_fault, startup_fault,
     startup_fault, startup_fault, startup_fault, startup_fault, startup_fault, startup_fault,
     startup_fault},
    startup_tick,
};

UTVM_SMALL_END
