/* The platform layer of a native program: standard input, output and error, as plain bytes. */
#include "utvm/platform.h"

#include <stdio.h>
#include <stdlib.h>
#ifdef _WIN32
#include <fcntl.h>
#include <io.h>
#endif

void utvm_platform_init(void) {
#ifdef _WIN32
  (void)_setmode(_fileno(stdin), _O_BINARY);
  (void)_setmode(_fileno(stdout), _O_BINARY);
#endif
}

int utvm_platform_read(void *data, size_t bytes) {
  size_t got = fread(data, 1, bytes, stdin);
  if (got == bytes) {
    return UTVM_PLATFORM_READ;
  }
  if (ferror(stdin)) {
    return UTVM_PLATFORM_E_STREAM;
  }
  return got == 0 ? UTVM_PLATFORM_END : UTVM_PLATFORM_E_SHORT;
}

int utvm_platform_write(const void *data, size_t bytes) {
  return fwrite(data, 1, bytes, stdout) == bytes ? UTVM_PLATFORM_OK : UTVM_PLATFORM_E_STREAM;
}

void utvm_platform_log(const char *text) {
  (void)fputs(text, stderr);
}

void utvm_platform_exit(int status) {
  if (fflush(stdout) != 0 && status == 0) {
    status = 1;
  }
  exit(status);
}
