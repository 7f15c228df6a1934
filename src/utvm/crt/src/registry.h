/* Names of operators and inputs, and the log that is told them; private to the runtime. */
#ifndef UTVM_REGISTRY_H
#define UTVM_REGISTRY_H

#include "utvm/runtime.h"

#define REGISTRY_MAX_NAME_BYTES 0xFFFFu

/* The length of a name that ends with \0. */
size_t registry_name_bytes(const char *name);

/* Tells the log, if there is one. */
void registry_log(const TVMRuntime *runtime, int32_t status, const char *name, size_t name_bytes);

/* The same with the name that the registry has for a function of it. */
void registry_log_function(const TVMRuntime *runtime, int32_t status, TVMBackendPackedCFunc func);

#endif
