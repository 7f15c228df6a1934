/* Runs an array of tasks, see utvm/task.h.
 *
 * The lowest word of the stack that is no longer marked tells how much of it was used. After each
 * task what it used is marked again, so that each has a figure of its own. A stack without any mark
 * left has overflowed, or is about to. */
#include "utvm/task.h"

#include "utvm/mem.h"
#include "utvm/small.h"

UTVM_SMALL_BEGIN

/* Addresses that the linker script defines; only their addresses have a meaning. */
extern uint32_t __utvm_stack_low[];
extern uint32_t __utvm_stack_top[];
extern uint32_t __utvm_bss_start[];
extern uint32_t __utvm_bss_end[];

#define TASK_MARK 0x5AC3C35Au
/* Room for the frames of functions that mark the stack below themselves. */
#define TASK_MARGIN_WORDS 32

/* The first words of the stack and of the area of tasks; the linker script adds the rest. */
extern uint32_t task_stack_low;
extern uint64_t task_area_low;
__attribute__((section(".bss.stack"), used)) uint32_t task_stack_low;
__attribute__((section(".bss.task_area"), used)) uint64_t task_area_low;

char utvm_task_log[UTVM_TASK_LOG_BYTES];
static TVMRuntime task_runtime;

static void task_log_text(UtvmTaskControl *control, const char *text, size_t bytes) {
  memcpy(utvm_task_log + control->log_bytes, text, bytes);
  control->log_bytes += (uint32_t)bytes;
}

/* A line "STATUS: operator". */
static void task_log(void *context, int32_t status, const char *operator_name, size_t name_bytes) {
  UtvmTaskControl *control = context;
  const char *name = TVMStatusName(status);
  size_t length = 0;
  while (length < UTVM_TASK_LOG_BYTES && name[length] != '\0') {
    length++;
  }
  if (length + 3 > UTVM_TASK_LOG_BYTES - control->log_bytes ||
      name_bytes > UTVM_TASK_LOG_BYTES - control->log_bytes - length - 3) {
    control->log_lost++;
    return;
  }
  task_log_text(control, name, length);
  task_log_text(control, ": ", 2);
  task_log_text(control, operator_name, name_bytes);
  task_log_text(control, "\n", 1);
}

static void task_mark_stack(uint32_t *low, uint32_t *high) {
  volatile uint32_t *word = low; /* volatile: memset would have a frame here */
  while (word < high) {
    *word++ = TASK_MARK;
  }
}

static uint32_t *task_lowest_used(void) {
  uint32_t *word = __utvm_stack_low;
  while (word < __utvm_stack_top && *word == TASK_MARK) {
    word++;
  }
  return word;
}

static uint32_t task_bytes(const void *low, const void *high) {
  return (uint32_t)((uintptr_t)high - (uintptr_t)low);
}

void utvm_task_prepare(uint32_t *stack) {
  if (utvm_task_area.ready == 0) {
    memset(__utvm_bss_start, 0, task_bytes(__utvm_bss_start, __utvm_bss_end));
    task_mark_stack(__utvm_stack_low, stack - TASK_MARGIN_WORDS);
    utvm_task_area.ready = 1;
  }
}

void utvm_task_die(uint32_t reason, const uint32_t *registers) {
  utvm_task_area.reason = reason;
  memcpy(utvm_task_area.registers, registers, sizeof utvm_task_area.registers);
  utvm_task_stop();
}

static void task_run(UtvmTask *task) {
  uint32_t i;
  uint32_t start;
  task->status = TVM_OK;
  task->cycles = 0;
  task_runtime.workspace_peak_bytes = 0;
  for (i = 0; i < task->calls && task->status == TVM_OK; i++) {
    start = utvm_task_cycles();
    task->status =
        task->func(task->args, task->type_codes, task->num_args, NULL, NULL, &task_runtime);
    task->cycles += utvm_task_cycles() - start;
  }
  task->calls_done = i;
  task->workspace_peak_bytes = (uint32_t)task_runtime.workspace_peak_bytes;
}

/* How much of the stack the task used; that part is marked again up to our own frames. */
static void task_measure_stack(UtvmTask *task) {
  uint32_t *lowest = task_lowest_used();
  uint32_t *mine = __builtin_frame_address(0);
  static const uint32_t nothing[UTVM_TASK_FAULT_REGISTERS];
  task->stack_peak_bytes = task_bytes(lowest, __utvm_stack_top);
  if (lowest == __utvm_stack_low) {
    utvm_task_die(UTVM_TASK_FAULT_STACK, nothing);
  }
  task_mark_stack(lowest, mine - TASK_MARGIN_WORDS);
}

void utvm_task_main(void) {
  UtvmTaskControl *control = &utvm_task_area;
  TVMRuntimeConfig config = {0};
  uint32_t i;
  config.memory = control->workspace;
  config.memory_bytes = control->workspace_bytes;
  config.log = task_log;
  config.log_context = control;
  control->status = TVMInitializeRuntime(&task_runtime, &config);
  for (i = 0; i < control->task_count && control->status == TVM_OK; i++) {
    control->running = i;
    task_run(&control->tasks[i]);
    task_measure_stack(&control->tasks[i]);
    control->status = control->tasks[i].status;
    control->tasks_done += control->status == TVM_OK;
  }
  control->running = UTVM_TASK_NONE;
}

UTVM_SMALL_END
