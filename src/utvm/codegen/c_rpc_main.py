"""The program of an RPC server: the host calls functions of a network over a stream.

In: the functions (``c_entry.py``), and how much memory the server has for tensors and for the
workspaces of kernels. Out: file names and texts. ``main`` sets up the runtime and the server and
answers the host until the stream ends.
"""

from __future__ import annotations

from utvm.codegen.c_entry import SessionFunctions
from utvm.codegen.c_layout import wrap_arguments
from utvm.codegen.c_module import banner, prefix_of, title_of
from utvm.ir.loop import Module
from utvm.support.errors import UnsupportedError

DEFAULT_PAYLOAD_BYTES = 1024
DEFAULT_BLOCKS = 32
LOG_BYTES = 512
MAX_ARGUMENTS = 16  # TVM_RPC_MAX_ARGUMENTS of rpc.h
RPC_MEMORY = "tensor_memory"
"""The variable that is the memory for tensors and workspaces."""


def rpc_program(
    module: Module,
    functions: SessionFunctions,
    memory_bytes: int,
    *,
    payload_bytes: int = DEFAULT_PAYLOAD_BYTES,
    blocks: int = DEFAULT_BLOCKS,
) -> dict[str, str]:
    """The texts of all files, by file name; ``memory_bytes`` is rounded up to a multiple of 8."""
    if functions.arguments > MAX_ARGUMENTS:
        raise UnsupportedError(
            "a function takes more tensors than one call over RPC can carry",
            where=title_of(module),
            expected=f"at most {MAX_ARGUMENTS}",
            found=str(functions.arguments),
        )
    sizes = (
        f"#define MEMORY_BYTES {-(-memory_bytes // 8) * 8}\n"
        f"#define FRAME_BYTES ({payload_bytes} + TVM_RPC_FRAME_OVERHEAD)\n"
        f"#define BLOCKS {blocks}\n"
        f"#define FUNCTIONS {len(functions.names)}\n"
        f"#define LOG_BYTES {LOG_BYTES}"
    )
    main = _main(functions, title_of(module), sizes)
    return {**functions.sources, f"{prefix_of(module)}_rpc_main.c": main}


def _main(functions: SessionFunctions, title: str, sizes: str) -> str:
    fields = [RPC_MEMORY, f"sizeof {RPC_MEMORY}", f"&{functions.registry}"]
    fields += ["TVMRpcServer_Log", "&server"]
    runtime_config = wrap_arguments("TVMRuntimeConfig config = {", fields, "};", "  ")
    return f"""{banner(f"An RPC server for functions of the network {title}.")}
#include "{functions.header}"

#include "utvm/platform.h"
#include "utvm/rpc_port.h"

{sizes}

static int64_t {RPC_MEMORY}[MEMORY_BYTES / 8];
static uint8_t receive[FRAME_BYTES];
static uint8_t reply[FRAME_BYTES];
static TVMRpcBlock blocks[BLOCKS];
static TVMRpcFunctionStatistics functions[FUNCTIONS];
static char log_text[LOG_BYTES];
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
  server_config.log = log_text;
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
