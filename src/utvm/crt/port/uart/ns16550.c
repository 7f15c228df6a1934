/* The National Semiconductor 16550 (PC16550D data sheet), registers one byte apart, as in QEMU. */
#include "uart.h"

#define NS_REGISTER(offset) \
  (*(volatile uint8_t *)(uintptr_t)(UART_NUMBER(__utvm_uart_base) + (offset)))
#define NS_DATA NS_REGISTER(0u)         /* while the divisor is not open */
#define NS_DIVISOR_LOW NS_REGISTER(0u)  /* while it is */
#define NS_DIVISOR_HIGH NS_REGISTER(1u) /* while it is */
#define NS_INTERRUPTS NS_REGISTER(1u)
#define NS_FIFO NS_REGISTER(2u)
#define NS_LINE NS_REGISTER(3u)
#define NS_STATE NS_REGISTER(5u)
#define NS_FIFO_RESET 0x07u /* on, and both empty */
#define NS_LINE_DIVISOR 0x80u
#define NS_LINE_8N1 0x03u
#define NS_STATE_RX_FULL 0x01u
#define NS_STATE_TX_EMPTY 0x20u

void uart_open(void) {
  const uint32_t divisor =
      UART_NUMBER(__utvm_uart_clock_hz) / (16u * UART_NUMBER(__utvm_uart_baud));
  NS_LINE = NS_LINE_DIVISOR;
  NS_DIVISOR_LOW = (uint8_t)divisor;
  NS_DIVISOR_HIGH = (uint8_t)(divisor >> 8);
  NS_LINE = NS_LINE_8N1;
  NS_INTERRUPTS = 0;
  NS_FIFO = NS_FIFO_RESET;
}

int32_t uart_get(void) {
  return (NS_STATE & NS_STATE_RX_FULL) != 0 ? (int32_t)NS_DATA : -1;
}

void uart_put(uint8_t byte) {
  while ((NS_STATE & NS_STATE_TX_EMPTY) == 0) {
  }
  NS_DATA = byte;
}
