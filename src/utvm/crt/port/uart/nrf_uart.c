/* Nordic's UART without DMA (nRF51 series reference manual 3.0, chapter 29); nRF52 has it, too.
 *
 * The baud rate register takes 2^32 times the rate over the clock, in steps of 4096. */
#include "uart.h"

#define NRF_START_RX UART_REGISTER(0x000u)
#define NRF_START_TX UART_REGISTER(0x008u)
#define NRF_RX_READY UART_REGISTER(0x108u)
#define NRF_TX_READY UART_REGISTER(0x11Cu)
#define NRF_INTERRUPTS_SET UART_REGISTER(0x304u)
#define NRF_ENABLE UART_REGISTER(0x500u)
#define NRF_TX_PIN UART_REGISTER(0x50Cu)
#define NRF_RX_PIN UART_REGISTER(0x514u)
#define NRF_RX_DATA UART_REGISTER(0x518u)
#define NRF_TX_DATA UART_REGISTER(0x51Cu)
#define NRF_BAUD UART_REGISTER(0x524u)
#define NRF_INTERRUPT_RX 4u
#define NRF_ENABLE_UART 4u
#define NRF_BAUD_STEP 0x1000u

static uint32_t nrf_sending; /* a byte was written and its event was not seen yet */

void uart_open(void) {
  const uint64_t rate =
      ((uint64_t)UART_NUMBER(__utvm_uart_baud) << 32) / UART_NUMBER(__utvm_uart_clock_hz);
  NRF_TX_PIN = UART_NUMBER(__utvm_uart_tx_select);
  NRF_RX_PIN = UART_NUMBER(__utvm_uart_rx_select);
  NRF_BAUD = (uint32_t)(rate + NRF_BAUD_STEP / 2) & ~(NRF_BAUD_STEP - 1u);
  NRF_ENABLE = NRF_ENABLE_UART;
  NRF_INTERRUPTS_SET = NRF_INTERRUPT_RX;
  NRF_TX_READY = 0;
  NRF_START_TX = 1;
  NRF_START_RX = 1;
  nrf_sending = 0;
}

/* The event is cleared before the data is read: the next byte in the FIFO raises it again. */
int32_t uart_get(void) {
  if (NRF_RX_READY == 0) {
    return -1;
  }
  NRF_RX_READY = 0;
  return (int32_t)(NRF_RX_DATA & 0xFFu);
}

void uart_put(uint8_t byte) {
  while (nrf_sending && NRF_TX_READY == 0) {
  }
  NRF_TX_READY = 0;
  NRF_TX_DATA = byte;
  nrf_sending = 1;
}
