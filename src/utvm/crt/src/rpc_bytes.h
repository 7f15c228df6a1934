/* Numbers in bytes, low byte first, at any address; private to the RPC server. */
#ifndef UTVM_RPC_BYTES_H
#define UTVM_RPC_BYTES_H

#include <stdint.h>

static inline uint32_t rpc_get16(const uint8_t *at) {
  return (uint32_t)at[0] | (uint32_t)at[1] << 8;
}

static inline uint32_t rpc_get32(const uint8_t *at) {
  return rpc_get16(at) | rpc_get16(at + 2) << 16;
}

static inline uint64_t rpc_get64(const uint8_t *at) {
  return (uint64_t)rpc_get32(at) | (uint64_t)rpc_get32(at + 4) << 32;
}

static inline void rpc_put16(uint8_t *at, uint32_t value) {
  at[0] = (uint8_t)value;
  at[1] = (uint8_t)(value >> 8);
}

static inline void rpc_put32(uint8_t *at, uint32_t value) {
  rpc_put16(at, value);
  rpc_put16(at + 2, value >> 16);
}

static inline void rpc_put64(uint8_t *at, uint64_t value) {
  rpc_put32(at, (uint32_t)value);
  rpc_put32(at + 4, (uint32_t)(value >> 32));
}

#endif
