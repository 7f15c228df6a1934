/* The runtime's memory, as its other files see it; private to the runtime. */
#ifndef UTVM_MEMORY_H
#define UTVM_MEMORY_H

#include "utvm/runtime.h"

/* The next multiple of 8; bytes is at most 2^31. */
size_t memory_aligned(size_t bytes);

/* Gives up all workspaces and takes new ones from the end of the runtime's memory. */
void memory_reset_workspace(TVMRuntime *runtime);

#endif
