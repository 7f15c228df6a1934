/* Reads frames from standard input and writes each whole one again. */
#include <stdio.h>

#include "utvm/rpc.h"

static int32_t put(void *context, const uint8_t *data, size_t bytes) {
  (void)context;
  return fwrite(data, 1, bytes, stdout) == bytes ? 0 : -1;
}

int main(void) {
  static uint8_t buffer[400];
  TVMRpcPort port = {0};
  TVMRpcReceiver receiver;
  TVMRpcHeader header;
  int byte;
  port.write = put;
  TVMRpcReceiver_Init(&receiver, buffer, sizeof buffer);
  while ((byte = getchar()) != EOF) {
    if (TVMRpcReceiver_Byte(&receiver, (uint8_t)byte, &header) &&
        TVMRpcFrame_Write(&port, &header, buffer + 12) != TVM_OK) {
      return 1;
    }
  }
  return 0;
}
