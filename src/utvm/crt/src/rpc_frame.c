/* Frames on a stream of bytes: delimiters, escapes, length and CRC-32 (SPEC.md, section "RPC").
 *
 * The receiver keeps one frame, in the caller's buffer. Whatever arrives, it is in step again with
 * the next delimiter. */
#include "utvm/rpc.h"
#include "utvm/small.h"

#include "rpc_bytes.h"

UTVM_SMALL_BEGIN

#define RPC_DELIMITER 0x7Eu
#define RPC_ESCAPE 0x7Du
#define RPC_ESCAPE_FLIP 0x20u
#define RPC_HEADER_BYTES 12u
#define RPC_CRC_BYTES 4u
#define RPC_CRC_START 0xFFFFFFFFu
#define RPC_CHUNK_BYTES 64u

/* CRC-32 of IEEE 802.3, half a byte at a time: 64 bytes of table instead of 1024. */
static uint32_t rpc_crc(uint32_t crc, const uint8_t *data, uint32_t bytes) {
  static const uint32_t table[16] = {
      0x00000000u, 0x1DB71064u, 0x3B6E20C8u, 0x26D930ACu, 0x76DC4190u, 0x6B6B51F4u,
      0x4DB26158u, 0x5005713Cu, 0xEDB88320u, 0xF00F9344u, 0xD6D6A3E8u, 0xCB61B38Cu,
      0x9B64C2B0u, 0x86D3D2D4u, 0xA00AE278u, 0xBDBDF21Cu,
  };
  uint32_t i;
  for (i = 0; i < bytes; i++) {
    crc ^= data[i];
    crc = crc >> 4 ^ table[crc & 15u];
    crc = crc >> 4 ^ table[crc & 15u];
  }
  return crc;
}

void TVMRpcReceiver_Init(TVMRpcReceiver *receiver, uint8_t *buffer, uint32_t buffer_bytes) {
  receiver->buffer = buffer;
  receiver->buffer_bytes = buffer_bytes;
  receiver->used = 0;
  receiver->escaped = 0;
  receiver->too_long = 0;
  receiver->damaged_frames = 0;
}

/* Whether the buffer holds a frame as it was sent. */
static int32_t rpc_frame_is_whole(const TVMRpcReceiver *receiver) {
  const uint8_t *frame = receiver->buffer;
  const uint32_t used = receiver->used;
  if (receiver->too_long || receiver->escaped || used < RPC_HEADER_BYTES + RPC_CRC_BYTES ||
      rpc_get16(frame + 2) != used - RPC_HEADER_BYTES - RPC_CRC_BYTES || frame[1] != 0) {
    return 0;
  }
  return ~rpc_crc(RPC_CRC_START, frame, used - RPC_CRC_BYTES) ==
         rpc_get32(frame + used - RPC_CRC_BYTES);
}

static int32_t rpc_frame_end(TVMRpcReceiver *receiver, TVMRpcHeader *header) {
  const uint8_t *frame = receiver->buffer;
  const int32_t whole = rpc_frame_is_whole(receiver);
  if (whole) {
    header->kind = frame[0];
    header->payload_bytes = rpc_get16(frame + 2);
    header->session = rpc_get32(frame + 4);
    header->sequence = rpc_get32(frame + 8);
  } else if (receiver->used > 0 || receiver->escaped) {
    receiver->damaged_frames++;
  }
  receiver->used = 0;
  receiver->escaped = 0;
  receiver->too_long = 0;
  return whole;
}

int32_t TVMRpcReceiver_Byte(TVMRpcReceiver *receiver, uint8_t byte, TVMRpcHeader *header) {
  if (byte == RPC_DELIMITER) {
    return rpc_frame_end(receiver, header);
  }
  if (byte == RPC_ESCAPE) {
    receiver->escaped = 1;
    return 0;
  }
  if (receiver->used == receiver->buffer_bytes) {
    receiver->too_long = 1;
    return 0;
  }
  receiver->buffer[receiver->used++] = receiver->escaped ? (uint8_t)(byte ^ RPC_ESCAPE_FLIP) : byte;
  receiver->escaped = 0;
  return 0;
}

/* Bytes on their way to the port. */
typedef struct {
  const TVMRpcPort *port;
  uint32_t used;
  int32_t status;
  uint8_t chunk[RPC_CHUNK_BYTES];
} RpcWriter;

static void rpc_writer_flush(RpcWriter *writer) {
  if (writer->status == TVM_OK && writer->used > 0 &&
      writer->port->write(writer->port->context, writer->chunk, writer->used) != 0) {
    writer->status = TVM_ERROR_RPC_STREAM;
  }
  writer->used = 0;
}

static void rpc_writer_put(RpcWriter *writer, const uint8_t *data, uint32_t bytes) {
  uint32_t i;
  for (i = 0; i < bytes; i++) {
    if (writer->used > RPC_CHUNK_BYTES - 2) {
      rpc_writer_flush(writer);
    }
    if (data[i] == RPC_DELIMITER || data[i] == RPC_ESCAPE) {
      writer->chunk[writer->used++] = RPC_ESCAPE;
      writer->chunk[writer->used++] = (uint8_t)(data[i] ^ RPC_ESCAPE_FLIP);
    } else {
      writer->chunk[writer->used++] = data[i];
    }
  }
}

int32_t TVMRpcFrame_Write(const TVMRpcPort *port, const TVMRpcHeader *header,
                          const uint8_t *payload) {
  uint8_t head[RPC_HEADER_BYTES];
  uint8_t tail[RPC_CRC_BYTES];
  RpcWriter writer;
  head[0] = header->kind;
  head[1] = 0;
  rpc_put16(head + 2, header->payload_bytes);
  rpc_put32(head + 4, header->session);
  rpc_put32(head + 8, header->sequence);
  rpc_put32(tail, ~rpc_crc(rpc_crc(RPC_CRC_START, head, RPC_HEADER_BYTES), payload,
                           header->payload_bytes));
  writer.port = port;
  writer.status = TVM_OK;
  writer.chunk[0] = RPC_DELIMITER;
  writer.used = 1;
  rpc_writer_put(&writer, head, RPC_HEADER_BYTES);
  rpc_writer_put(&writer, payload, header->payload_bytes);
  rpc_writer_put(&writer, tail, RPC_CRC_BYTES);
  rpc_writer_flush(&writer);
  writer.chunk[0] = RPC_DELIMITER;
  writer.used = 1;
  rpc_writer_flush(&writer);
  return writer.status;
}

UTVM_SMALL_END
