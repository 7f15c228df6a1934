/* What differs between cores in the RPC port of microcontrollers; port/<core>_rpc implements it. */
#ifndef UTVM_PORT_RPC_CORE_H
#define UTVM_PORT_RPC_CORE_H

#include "utvm/rpc.h"

/* From the linker script and the board's data; only their addresses have a meaning. */
extern uint32_t __utvm_stack_low[];
extern uint32_t __utvm_stack_top[];
extern uint8_t __utvm_clock_hz[];
extern uint8_t __utvm_machine_timer[];

/* Starts the counter and gives it, and the watchdog where there is one, to `port`. */
void rpc_core_start(TVMRpcPort *port);

/* Sleeps until the interrupt of that number is pending, or for some milliseconds, or not at all. */
void rpc_core_wait(uint32_t interrupt);

/* Runs the program from its start. */
void rpc_core_reset(void);

/* Of port/rpc: keeps what happened in memory that no start clears, and restarts. The registers are
 * those of TVMRpcFault. */
void rpc_port_die(uint32_t reason, const uint32_t *registers);

#endif
