/* Start-up of a RISC-V core in machine mode: memory initialization, main, trap report.
 *
 * The linker script gives the addresses. The stack lies at the bottom of RAM; physical memory
 * protection makes what lies below it, down to flash, read-only even for machine mode, so that an
 * overflow traps instead of overwriting code. No interrupt is enabled here. A port that reports traps
 * otherwise defines startup_report. */
#include <stdint.h>

#include "utvm/mem.h"
#include "utvm/platform.h"
#include "utvm/small.h"

UTVM_SMALL_BEGIN

/* Addresses that the linker script defines; only their addresses have a meaning. */
extern uint32_t __utvm_flash_start[];
extern uint32_t __utvm_stack_low[];
extern uint32_t __utvm_stack_top[];
extern uint32_t __utvm_data_load[];
extern uint32_t __utvm_data_start[];
extern uint32_t __utvm_data_end[];
extern uint32_t __utvm_bss_start[];
extern uint32_t __utvm_bss_end[];

#define STARTUP_EXIT_FAULT 70
/* pmpcfg0: entry 0 is off and only gives the lower bound; entry 1 is locked, top of range, R, X. */
#define STARTUP_PMP_CONFIG 0x8D00u

/* The lowest word of the stack, see the linker script. */
extern uint32_t startup_stack_low;
__attribute__((section(".bss.stack"), used)) uint32_t startup_stack_low;

int main(void);
void Reset_Handler(void);
void startup_run(void);
void startup_trap(void);
void startup_report(const uint32_t *stack);

/* The entry point, as the linker script names it. There is no stack yet. */
__attribute__((naked, section(".text.start"))) void Reset_Handler(void) {
  __asm__ volatile("la sp, __utvm_stack_top\n\t"
                   "la t0, startup_trap\n\t"
                   "csrw mtvec, t0\n\t"
                   "j startup_run");
}

static void startup_protect(void) {
  uintptr_t low = (uintptr_t)__utvm_flash_start;
  uintptr_t high = (uintptr_t)__utvm_stack_low;
  if (low < high) {
    __asm__ volatile("csrw pmpaddr0, %0\n\t"
                     "csrw pmpaddr1, %1\n\t"
                     "csrw pmpcfg0, %2" ::"r"(low >> 2),
                     "r"(high >> 2), "r"(STARTUP_PMP_CONFIG)
                     : "memory");
  }
}

__attribute__((noinline, used)) void startup_run(void) {
  memcpy(__utvm_data_start, __utvm_data_load,
         (uintptr_t)__utvm_data_end - (uintptr_t)__utvm_data_start);
  memset(__utvm_bss_start, 0, (uintptr_t)__utvm_bss_end - (uintptr_t)__utvm_bss_start);
  startup_protect();
  utvm_platform_exit(main());
}

/* Every trap is a fault here. The stack may be what failed, so the report runs on a fresh one and
 * gets the old stack pointer. mtvec wants an address that is a multiple of 4. */
__attribute__((naked, aligned(4), used)) void startup_trap(void) {
  __asm__ volatile("mv a0, sp\n\t"
                   "la sp, __utvm_stack_top\n\t"
                   "j startup_report");
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

/* What the core noted: where, why (the mcause register), and the address or instruction. */
__attribute__((used, weak)) void startup_report(const uint32_t *stack) {
  uint32_t address, cause, value;
  __asm__ volatile("csrr %0, mepc\n\t"
                   "csrr %1, mcause\n\t"
                   "csrr %2, mtval"
                   : "=r"(address), "=r"(cause), "=r"(value));
  utvm_platform_log("utvm: fault");
  if (stack < __utvm_stack_low) {
    utvm_platform_log(": stack overflow");
  } else {
    startup_log_hex(" at pc 0x", address);
    startup_log_hex(" cause 0x", cause);
    startup_log_hex(" value 0x", value);
  }
  utvm_platform_log("\n");
  utvm_platform_exit(STARTUP_EXIT_FAULT);
}

UTVM_SMALL_END
