/* What a port adds to the platform layer for a program that is an RPC server. */
#ifndef UTVM_RPC_PORT_H
#define UTVM_RPC_PORT_H

#include "utvm/rpc.h"

/* Opens the stream to the host and starts the counter. `seed` gets a number that should differ from
 * start to start. Called again after a reset that returned. */
void utvm_rpc_port_open(TVMRpcPort *port, uint32_t *seed);

/* What the program died of before it started again; null: it did not. The function is meaningful
 * if the port was told where to find it, see utvm_rpc_port_watch. */
const TVMRpcFault *utvm_rpc_port_fault(void);

/* Tells the port where the number of the running operator is, for fault reports. */
void utvm_rpc_port_watch(const uint32_t *running_function);

/* Restarts the device. If it returns, the program starts its server anew. */
void utvm_rpc_port_reset(void);

#endif
