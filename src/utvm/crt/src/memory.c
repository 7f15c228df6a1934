/* The runtime's memory: blocks from below, workspaces from the end down.
 *
 * A block has a head of 8 bytes and lies directly behind the one before. Behind the last block in
 * use there is none, so the memory between blocks_bytes and the workspaces is free. */
#include "memory.h"
#include "utvm/small.h"

UTVM_SMALL_BEGIN

typedef struct {
  uint32_t bytes; /* behind the head, a multiple of 8 */
  uint32_t used;  /* 1 or 0 */
} MemoryBlock;

#define MEMORY_LIMIT ((size_t)1 << 31)

size_t memory_aligned(size_t bytes) {
  return (bytes + 7u) & ~(size_t)7u;
}

static MemoryBlock *memory_block(const TVMRuntime *runtime, size_t at) {
  return (MemoryBlock *)(void *)((uint8_t *)runtime->config.memory + at);
}

static size_t memory_behind(const TVMRuntime *runtime, size_t at) {
  return at + sizeof(MemoryBlock) + memory_block(runtime, at)->bytes;
}

static int memory_is_shared(const TVMRuntime *runtime) {
  return runtime->workspace == (uint8_t *)runtime->config.memory;
}

/* Notes how much is in use now. */
static void memory_mark(TVMRuntime *runtime) {
  size_t used = runtime->blocks_bytes;
  if (memory_is_shared(runtime)) {
    used += runtime->workspace_used;
  }
  if (used > runtime->memory_peak_bytes) {
    runtime->memory_peak_bytes = used;
  }
  if (runtime->workspace_used > runtime->workspace_peak_bytes) {
    runtime->workspace_peak_bytes = runtime->workspace_used;
  }
}

void memory_reset_workspace(TVMRuntime *runtime) {
  runtime->workspace = runtime->config.memory;
  runtime->workspace_bytes = runtime->config.memory_bytes & ~(size_t)7u;
  runtime->workspace_used = 0;
}

/* Makes the free block at `at` as large as its free neighbours behind it allow. */
static void memory_merge(const TVMRuntime *runtime, size_t at) {
  MemoryBlock *block = memory_block(runtime, at);
  size_t behind = memory_behind(runtime, at);
  while (behind < runtime->blocks_bytes && !memory_block(runtime, behind)->used) {
    block->bytes += (uint32_t)sizeof(MemoryBlock) + memory_block(runtime, behind)->bytes;
    behind = memory_behind(runtime, at);
  }
}

/* Takes the first `bytes` of a free block and leaves the rest as another. */
static void *memory_take(const TVMRuntime *runtime, size_t at, size_t bytes) {
  MemoryBlock *block = memory_block(runtime, at);
  if (block->bytes > bytes) {
    MemoryBlock *rest = memory_block(runtime, at + sizeof(MemoryBlock) + bytes);
    rest->bytes = (uint32_t)(block->bytes - bytes - sizeof(MemoryBlock));
    rest->used = 0;
    block->bytes = (uint32_t)bytes;
  }
  block->used = 1;
  return block + 1;
}

int32_t TVMRuntime_Allocate(TVMRuntime *runtime, size_t bytes, void **result) {
  size_t at;
  MemoryBlock *block;
  if (runtime == NULL || result == NULL) {
    return TVM_ERROR_ARGUMENT;
  }
  if (runtime->running) {
    return TVM_ERROR_BUSY;
  }
  if (bytes > MEMORY_LIMIT) {
    return TVM_ERROR_MEMORY;
  }
  bytes = memory_aligned(bytes);
  for (at = 0; at < runtime->blocks_bytes; at = memory_behind(runtime, at)) {
    block = memory_block(runtime, at);
    if (!block->used) {
      memory_merge(runtime, at);
      if (block->bytes == bytes || block->bytes >= bytes + sizeof(MemoryBlock)) {
        *result = memory_take(runtime, at, bytes);
        return TVM_OK;
      }
    }
  }
  if (sizeof(MemoryBlock) + bytes >
      runtime->workspace_bytes - runtime->workspace_used - runtime->blocks_bytes) {
    return TVM_ERROR_MEMORY;
  }
  block = memory_block(runtime, at);
  block->bytes = (uint32_t)bytes;
  block->used = 1;
  runtime->blocks_bytes = memory_behind(runtime, at);
  memory_mark(runtime);
  *result = block + 1;
  return TVM_OK;
}

int32_t TVMRuntime_Free(TVMRuntime *runtime, void *result) {
  size_t at;
  size_t last_used = 0;
  int found = 0;
  if (runtime == NULL || result == NULL) {
    return TVM_ERROR_ARGUMENT;
  }
  if (runtime->running) {
    return TVM_ERROR_BUSY;
  }
  for (at = 0; at < runtime->blocks_bytes; at = memory_behind(runtime, at)) {
    MemoryBlock *block = memory_block(runtime, at);
    if ((void *)(block + 1) == result && block->used) {
      block->used = 0;
      found = 1;
    }
    if (block->used) {
      last_used = memory_behind(runtime, at);
    }
  }
  runtime->blocks_bytes = last_used;
  return found ? TVM_OK : TVM_ERROR_ARGUMENT;
}

int32_t TVMBackendAllocWorkspace(TVMRuntime *runtime, size_t bytes, void **workspace) {
  size_t room;
  if (runtime == NULL || workspace == NULL) {
    return TVM_ERROR_ARGUMENT;
  }
  room = runtime->workspace_bytes - runtime->workspace_used;
  if (memory_is_shared(runtime)) {
    room -= runtime->blocks_bytes;
  }
  if (bytes > room || memory_aligned(bytes) > room) {
    return TVM_ERROR_WORKSPACE;
  }
  runtime->workspace_used += memory_aligned(bytes);
  memory_mark(runtime);
  *workspace = runtime->workspace + (runtime->workspace_bytes - runtime->workspace_used);
  return TVM_OK;
}

int32_t TVMBackendFreeWorkspace(TVMRuntime *runtime, void *workspace, size_t bytes) {
  if (runtime == NULL) {
    return TVM_ERROR_ARGUMENT;
  }
  if (workspace != runtime->workspace + (runtime->workspace_bytes - runtime->workspace_used) ||
      bytes > runtime->workspace_used || memory_aligned(bytes) > runtime->workspace_used) {
    return TVM_ERROR_WORKSPACE_ORDER;
  }
  runtime->workspace_used -= memory_aligned(bytes);
  return TVM_OK;
}

UTVM_SMALL_END
