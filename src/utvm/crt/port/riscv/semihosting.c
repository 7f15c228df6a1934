/* The platform layer of a RISC-V core under a debugger or an emulator: semihosting.
 *
 * The input stream is the file utvm_in.bin, the output stream utvm_out.bin; both are opened when
 * first used. The console is the debugger's. "RISC-V Semihosting" (RISC-V International, 0.4) takes
 * operations and blocks from Arm's specification and defines the call: an ebreak between two shifts
 * that do nothing. Without a debugger it traps, so this port is for development only. */
#include "utvm/platform.h"
#include "utvm/small.h"

#include <stdint.h>

UTVM_SMALL_BEGIN

#define SEMIHOSTING_SYS_OPEN 0x01u
#define SEMIHOSTING_SYS_WRITE0 0x04u
#define SEMIHOSTING_SYS_WRITE 0x05u
#define SEMIHOSTING_SYS_READ 0x06u
#define SEMIHOSTING_SYS_EXIT_EXTENDED 0x20u
#define SEMIHOSTING_MODE_READ 1u  /* "rb" */
#define SEMIHOSTING_MODE_WRITE 5u /* "wb" */
#define SEMIHOSTING_APPLICATION_EXIT 0x20026u

/* A stream's handle: 0 is not yet opened, -1 could not be opened, else the handle plus 1. */
static int32_t semihosting_in;
static int32_t semihosting_out;

/* The three instructions are a mark for debuggers: none of them may be a compressed one, and they
 * may not lie across two pages. */
__attribute__((noinline)) static int32_t semihosting_call(uint32_t operation,
                                                          const void *argument) {
  register uint32_t a0 __asm__("a0") = operation;
  register uint32_t a1 __asm__("a1") = (uint32_t)argument;
  __asm__ volatile(".option push\n\t"
                   ".option norvc\n\t"
                   ".balign 16\n\t"
                   "slli zero, zero, 0x1f\n\t"
                   "ebreak\n\t"
                   "srai zero, zero, 7\n\t"
                   ".option pop"
                   : "+r"(a0)
                   : "r"(a1)
                   : "memory");
  return (int32_t)a0;
}

static int32_t semihosting_open(const char *name, uint32_t name_bytes, uint32_t mode) {
  uint32_t block[3] = {(uint32_t)name, mode, name_bytes};
  int32_t handle = semihosting_call(SEMIHOSTING_SYS_OPEN, block);
  return handle < 0 ? -1 : handle + 1;
}

/* Reads or writes; returns how many bytes were NOT transferred, as both operations do. */
static uint32_t semihosting_transfer(uint32_t operation, int32_t stream, const void *data,
                                     uint32_t bytes) {
  uint32_t block[3] = {(uint32_t)(stream - 1), (uint32_t)data, bytes};
  return (uint32_t)semihosting_call(operation, block);
}

void utvm_platform_init(void) {
}

int utvm_platform_read(void *data, size_t bytes) {
  uint32_t left;
  if (semihosting_in == 0) {
    semihosting_in = semihosting_open("utvm_in.bin", 11, SEMIHOSTING_MODE_READ);
  }
  if (semihosting_in < 0) {
    return UTVM_PLATFORM_E_STREAM;
  }
  left = semihosting_transfer(SEMIHOSTING_SYS_READ, semihosting_in, data, bytes);
  if (left == 0) {
    return UTVM_PLATFORM_READ;
  }
  if (left > bytes) {
    return UTVM_PLATFORM_E_STREAM;
  }
  return left == bytes ? UTVM_PLATFORM_END : UTVM_PLATFORM_E_SHORT;
}

int utvm_platform_write(const void *data, size_t bytes) {
  if (semihosting_out == 0) {
    semihosting_out = semihosting_open("utvm_out.bin", 12, SEMIHOSTING_MODE_WRITE);
  }
  if (semihosting_out < 0 ||
      semihosting_transfer(SEMIHOSTING_SYS_WRITE, semihosting_out, data, bytes) != 0) {
    return UTVM_PLATFORM_E_STREAM;
  }
  return UTVM_PLATFORM_OK;
}

void utvm_platform_log(const char *text) {
  (void)semihosting_call(SEMIHOSTING_SYS_WRITE0, text);
}

void utvm_platform_exit(int status) {
  uint32_t block[2] = {SEMIHOSTING_APPLICATION_EXIT, (uint32_t)status};
  (void)semihosting_call(SEMIHOSTING_SYS_EXIT_EXTENDED, block);
  for (;;) {
  }
}

UTVM_SMALL_END
