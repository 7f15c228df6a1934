/* The UART of Arm's Cortex-M System Design Kit (Arm DDI 0479), on MPS2 and MPS3 boards. */
#include "uart.h"

#define CMSDK_DATA UART_REGISTER(0x00u)
#define CMSDK_STATE UART_REGISTER(0x04u)
#define CMSDK_CTRL UART_REGISTER(0x08u)
#define CMSDK_INTERRUPT UART_REGISTER(0x0Cu)
#define CMSDK_BAUDDIV UART_REGISTER(0x10u)
#define CMSDK_TX_FULL 1u
#define CMSDK_RX_FULL 2u
#define CMSDK_RX_INTERRUPT 2u
#define CMSDK_ENABLE 0x0Bu /* receiver, its interrupt, and transmitter */

void uart_open(void) {
  CMSDK_BAUDDIV = UART_NUMBER(__utvm_uart_clock_hz) / UART_NUMBER(__utvm_uart_baud);
  CMSDK_CTRL = CMSDK_ENABLE;
}

int32_t uart_get(void) {
  if ((CMSDK_STATE & CMSDK_RX_FULL) == 0) {
    return -1;
  }
  CMSDK_INTERRUPT = CMSDK_RX_INTERRUPT; /* clears it */
  return (int32_t)(CMSDK_DATA & 0xFFu);
}

void uart_put(uint8_t byte) {
  while ((CMSDK_STATE & CMSDK_TX_FULL) != 0) {
  }
  CMSDK_DATA = byte;
}
