/* Operators by name. */
#include "registry.h"

#include "utvm/mem.h"
#include "utvm/small.h"

UTVM_SMALL_BEGIN

size_t registry_name_bytes(const char *name) {
  size_t bytes = 0;
  /* The bound also keeps compilers from making a call of strlen of this, which may not exist. */
  while (bytes < REGISTRY_MAX_NAME_BYTES && name[bytes] != '\0') {
    bytes++;
  }
  return bytes;
}

int32_t TVMFuncRegistry_Lookup(const TVMFuncRegistry *registry, const char *name, size_t name_bytes,
                               TVMBackendPackedCFunc *func) {
  const char *candidate;
  uint32_t count;
  uint32_t i;
  if (registry == NULL) {
    return TVM_ERROR_FUNCTION;
  }
  candidate = registry->names + 2;
  count = (uint32_t)(uint8_t)registry->names[0] | (uint32_t)(uint8_t)registry->names[1] << 8;
  for (i = 0; i < count; i++) {
    const size_t bytes = registry_name_bytes(candidate);
    if (bytes == name_bytes && memcmp(candidate, name, bytes) == 0) {
      *func = registry->funcs[i];
      return TVM_OK;
    }
    candidate += bytes + 1;
  }
  return TVM_ERROR_FUNCTION;
}

void registry_log(const TVMRuntime *runtime, int32_t status, const char *name, size_t name_bytes) {
  if (runtime->config.log != NULL) {
    runtime->config.log(runtime->config.log_context, status, name, name_bytes);
  }
}

void registry_log_function(const TVMRuntime *runtime, int32_t status, TVMBackendPackedCFunc func) {
  const TVMBackendPackedCFunc *candidate = runtime->config.registry->funcs;
  const char *name = runtime->config.registry->names + 2;
  while (*candidate++ != func) {
    name += registry_name_bytes(name) + 1;
  }
  registry_log(runtime, status, name, registry_name_bytes(name));
}

UTVM_SMALL_END
