"""A lowered network as the program of an RPC server: the host calls its kernels one by one.

In: a module, its memory plan, and how much memory the server has for tensors and workspaces. Out:
file names and texts. The kernels are those of the other executors, behind the packed signature;
``main`` sets up the runtime and the server and answers the host until the stream ends.
"""

from __future__ import annotations

from utvm.codegen.c_layout import wrap_arguments
from utvm.codegen.c_module import banner, kernel_files, prefix_of, title_of
from utvm.codegen.packed import packed_source
from utvm.ir.loop import Module
from utvm.ir.memory import MemoryPlan

DEFAULT_PAYLOAD_BYTES = 1024
DEFAULT_BLOCKS = 32
LOG_BYTES = 512


def generate_rpc_c(
    module: Module,
    plan: MemoryPlan,
    memory_bytes: int,
    *,
    payload_bytes: int = DEFAULT_PAYLOAD_BYTES,
    blocks: int = DEFAULT_BLOCKS,
) -> dict[str, str]:
    """The texts of all files, by file name; ``memory_bytes`` is rounded up to a multiple of 8."""
    prefix = prefix_of(module)
    title = title_of(module)
    packed = banner(f"The kernels of the network {title} as operators of the runtime.")
    return {
        f"{prefix}.h": _header(prefix, title),
        **kernel_files(module, plan),
        f"{prefix}_packed.c": packed_source(module, prefix, packed),
        f"{prefix}_rpc_main.c": _main(
            prefix,
            title,
            f"#define MEMORY_BYTES {-(-memory_bytes // 8) * 8}\n"
            f"#define FRAME_BYTES ({payload_bytes} + TVM_RPC_FRAME_OVERHEAD)\n"
            f"#define BLOCKS {blocks}\n"
            f"#define FUNCTIONS {len(module.functions)}\n"
            f"#define LOG_BYTES {LOG_BYTES}",
        ),
    }


def _header(prefix: str, title: str) -> str:
    upper = prefix.upper()
    return f"""{banner(f"The operators of the network {title}.")}
#ifndef {upper}_H
#define {upper}_H

#include "utvm/runtime.h"

extern const TVMFuncRegistry {prefix}_registry;

#endif
"""


def _main(prefix: str, title: str, sizes: str) -> str:
    fields = ["memory", "sizeof memory", f"&{prefix}_registry", "TVMRpcServer_Log", "&server"]
    runtime_config = wrap_arguments("TVMRuntimeConfig config = {", fields, "};", "  ")
    return f"""{banner(f"An RPC server for the operators of the network {title}.")}
#include "{prefix}.h"

#include "utvm/platform.h"
#include "utvm/rpc_port.h"

{sizes}

static int64_t memory[MEMORY_BYTES / 8];
static uint8_t receive[FRAME_BYTES];
static uint8_t reply[FRAME_BYTES];
static TVMRpcBlock blocks[BLOCKS];
static TVMRpcFunctionStatistics functions[FUNCTIONS];
static char log[LOG_BYTES];
static TVMRuntime runtime;
static TVMRpcServer server;

static int32_t set_up(void) {{
{runtime_config}
  TVMRpcServerConfig server_config = {{0}};
  int32_t status = TVMInitializeRuntime(&runtime, &config);
  if (status != TVM_OK) {{
    return status;
  }}
  utvm_rpc_port_open(&server_config.port, &server_config.seed);
  utvm_rpc_port_watch(&server.running_function);
  server_config.runtime = &runtime;
  server_config.receive = receive;
  server_config.reply = reply;
  server_config.frame_bytes = FRAME_BYTES;
  server_config.blocks = blocks;
  server_config.block_count = BLOCKS;
  server_config.functions = functions;
  server_config.log = log;
  server_config.log_bytes = LOG_BYTES;
  server_config.fault = utvm_rpc_port_fault();
  return TVMRpcServer_Init(&server, &server_config);
}}

int main(void) {{
  int32_t status;
  utvm_platform_init();
  do {{
    status = set_up();
    if (status == TVM_OK) {{
      status = TVMRpcServer_Run(&server);
    }}
    if (status == TVM_RPC_RESET) {{
      utvm_rpc_port_reset();
    }}
  }} while (status == TVM_RPC_RESET);
  return status == TVM_OK ? 0 : 1;
}}
"""
