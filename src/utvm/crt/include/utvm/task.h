/* Operators that a host calls through a debug port: it writes tasks into memory and runs the core.
 *
 * The host can read and write memory, set registers, and run the core up to an address; nothing
 * else. It writes a program that was linked for RAM, then again and again: a control block with an
 * array of tasks at utvm_task_area, the stack pointer to the end of the stack and the program
 * counter to utvm_task_entry. The core runs the tasks from first to last and comes to
 * utvm_task_stop, where the host has it halted; results stand in the control block. A fault comes to
 * utvm_task_stop, too, and says in the control block what it was.
 *
 * The host owns all memory behind the program; the pointers in tasks are the host's and not checked.
 * Pointers and sizes are words of 32 bits: tests compare the offsets here with the host's. */
#ifndef UTVM_TASK_H
#define UTVM_TASK_H

#include "utvm/runtime.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What the core died of. */
enum {
  UTVM_TASK_ALIVE = 0,
  UTVM_TASK_FAULT_CORTEX_M = 1, /* exception, CFSR, HFSR, MMFAR and BFAR in registers 3 to 7 */
  UTVM_TASK_FAULT_RISCV = 2,    /* mcause and mtval in registers 3 and 4 */
  UTVM_TASK_FAULT_STACK = 3     /* the stack was too small */
};

#define UTVM_TASK_NONE 0xFFFFFFFFu
#define UTVM_TASK_FAULT_REGISTERS 8
#define UTVM_TASK_LOG_BYTES 256

/* Which counter the cycles come from; those of mtime are ticks of the board's clock. */
enum {
  UTVM_TASK_COUNTER_DWT = 1,
  UTVM_TASK_COUNTER_SYSTICK = 2,
  UTVM_TASK_COUNTER_MCYCLE = 3,
  UTVM_TASK_COUNTER_MTIME = 4
};

/* One operator, called `calls` times with the same arguments; the first error ends it. */
typedef struct {
  TVMBackendPackedCFunc func;
  TVMValue *args;
  int *type_codes;
  int32_t num_args;
  uint32_t calls;
  int32_t status;                /* out: of the last call */
  uint32_t calls_done;           /* out */
  uint32_t workspace_peak_bytes; /* out */
  uint32_t stack_peak_bytes;     /* out: from the end of the stack */
  uint32_t reserved;
  uint64_t cycles; /* out: of all calls together, without the loop around them */
} UtvmTask;

typedef struct {
  uint32_t ready;           /* 0 after loading: variables are cleared first; then 1 */
  uint32_t task_count;      /* in */
  void *workspace;          /* in: where operators get scratch memory, aligned to 8 */
  uint32_t workspace_bytes; /* in */
  uint32_t tasks_done;      /* out: the first of them that fails is not counted and ends the run */
  int32_t status;           /* out: of the preparations, or of the task that failed */
  uint32_t counter;         /* out: UTVM_TASK_COUNTER */
  uint32_t log_bytes;       /* out: how much of utvm_task_log is text */
  uint32_t log_lost;        /* out: lines that had no room */
  uint32_t reserved;
  uint32_t running; /* out: index of the task, or UTVM_TASK_NONE */
  uint32_t reason;  /* out: UTVM_TASK_FAULT */
  /* out: program counter, link register, stack pointer, and what belongs to the reason */
  uint32_t registers[UTVM_TASK_FAULT_REGISTERS];
  UtvmTask tasks[];
} UtvmTaskControl;

/* Placed and sized by the linker script; behind the tasks the host puts their arguments. */
extern UtvmTaskControl utvm_task_area;

extern char utvm_task_log[UTVM_TASK_LOG_BYTES];

/* Where a run begins: sets up core and memory and calls utvm_task_main. Does not return. */
void utvm_task_entry(void);

/* Where every run ends. */
void utvm_task_stop(void);

/* Runs the tasks. Part of task.c, called by the port. */
void utvm_task_main(void);

/* Part of the port: the counter of cycles, which has started before utvm_task_main. Differences of
 * two values are right as long as they are below 2^32. */
uint32_t utvm_task_cycles(void);

/* Clears variables and marks the unused stack, once after loading. `stack` is the stack pointer. */
void utvm_task_prepare(uint32_t *stack);

/* Notes why the core died: what the port knows of it. Does not return. */
void utvm_task_die(uint32_t reason, const uint32_t *registers);

#ifdef __cplusplus
}
#endif

#endif
