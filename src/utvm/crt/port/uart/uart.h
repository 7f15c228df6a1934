/* A UART as a stream of bytes: what a driver in this folder implements.
 *
 * One driver is linked into a program, the one that the board's data names. Where its registers lie
 * and what its divisor is comes from there, too: the linker defines the symbols below, whose
 * addresses are the values. 8 data bits, no parity, one stop bit. */
#ifndef UTVM_PORT_UART_H
#define UTVM_PORT_UART_H

#include <stdint.h>

extern uint8_t __utvm_uart_base[];
extern uint8_t __utvm_uart_clock_hz[];
extern uint8_t __utvm_uart_baud[];
extern uint8_t __utvm_uart_tx_select[];
extern uint8_t __utvm_uart_rx_select[];
extern uint8_t __utvm_uart_interrupt[]; /* of a received byte; UART_NO_INTERRUPT: unknown */

#define UART_NO_INTERRUPT 0xFFFFu

/* The value of one of the symbols above. */
#define UART_NUMBER(symbol) ((uint32_t)(uintptr_t)(symbol))

#define UART_REGISTER(offset) (*(volatile uint32_t *)(UART_NUMBER(__utvm_uart_base) + (offset)))

/* Makes the UART ready, after a reset or again. */
void uart_open(void);

/* The next byte that came in, or -1 if there is none yet. A byte that waits here keeps the interrupt
 * asserted where the driver knows how; whether the core hears it is the core's matter. */
int32_t uart_get(void);

/* Waits until there is room for a byte, and sends it. */
void uart_put(uint8_t byte);

#endif
