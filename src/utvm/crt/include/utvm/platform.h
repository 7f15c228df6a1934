/* The platform layer: the few functions that a port implements for a program to run.
 *
 * A program reads its inputs from one stream of bytes and writes its outputs to another; what the
 * streams are is the port's choice (files over semihosting, standard input and output, a UART).
 * main() calls utvm_platform_init first and nothing else of this file before it. The functions are
 * for one caller at a time: they may not be called from interrupts. */
#ifndef UTVM_PLATFORM_H
#define UTVM_PLATFORM_H

#include <stddef.h>

/* Status codes: 0 and above is success, below is an error. */
#define UTVM_PLATFORM_OK 0
#define UTVM_PLATFORM_END 0       /* the input stream has no more bytes */
#define UTVM_PLATFORM_READ 1      /* all bytes asked for were read */
#define UTVM_PLATFORM_E_SHORT -1  /* the input stream ended in the middle of what was asked for */
#define UTVM_PLATFORM_E_STREAM -2 /* a stream cannot be opened, read or written */

/* Prepares clocks and streams, as far as the port needs it. */
void utvm_platform_init(void);

/* Reads the next `bytes` bytes (1 or more) of the input stream to `data`.
 * Returns UTVM_PLATFORM_READ, UTVM_PLATFORM_END before the first byte, or an error. */
int utvm_platform_read(void *data, size_t bytes);

/* Appends `bytes` bytes to the output stream. Returns UTVM_PLATFORM_OK or an error. */
int utvm_platform_write(const void *data, size_t bytes);

/* Writes a text that ends with a zero byte to the console, for people to read. */
void utvm_platform_log(const char *text);

/* Ends the program; 0 is success. Does not return. */
void utvm_platform_exit(int status);

#endif
