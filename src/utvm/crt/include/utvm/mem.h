/* The four memory functions of C, for compilers that bring no <string.h>.
 *
 * They have the names and the meaning of the C standard, because compilers call them by name for
 * copies and initializers. On a device mem.c defines them; on a host the C library does. */
#ifndef UTVM_MEM_H
#define UTVM_MEM_H

#include <stddef.h>

void *memcpy(void *restrict to, const void *restrict from, size_t bytes);
void *memmove(void *to, const void *from, size_t bytes);
void *memset(void *to, int value, size_t bytes);
int memcmp(const void *a, const void *b, size_t bytes);

#endif
