"""What a host can learn from a device over RPC before it runs anything: ``utvm rpc connect``.

In: where the server is. Out: a ``Device``: what it said of itself, its counters, and the fault that
it may have died of; or which executor it has for a model.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from utvm.codegen.c_entry import entry_symbol
from utvm.device.rpc_client import RpcSession
from utvm.device.rpc_link import Welcome
from utvm.device.session import Fault, Function, FunctionStatistics, Statistics, StatusError
from utvm.device.stream_tcp import connect_tcp
from utvm.driver.load import load_model
from utvm.driver.transports import host_and_port

_NO_FUNCTION = -9


@dataclass(frozen=True)
class Device:
    """What is at the other end. ``functions`` are its functions' counters, in its order."""

    server: str
    welcome: Welcome
    statistics: Statistics
    functions: tuple[FunctionStatistics, ...]
    fault: Fault | None


def describe_device(server: str) -> Device:
    """What the device at ``HOST:PORT`` is."""
    with closing(_session(server)) as session:
        welcome = session.welcome
        functions = tuple(
            session.function_statistics(Function(f"function {index}", index))
            for index in range(welcome.functions)
        )
        return Device(server, welcome, session.statistics(), functions, session.fault())


def offered_executor(server: str, model: Path, params: Path | None) -> str:
    """``aot`` if the device has a function for the whole network, else ``host``.

    Which executor that function belongs to makes no difference to who calls it.
    """
    name = load_model(model, params).name
    with closing(_session(server)) as session:
        try:
            session.function(entry_symbol(name))
        except StatusError as error:
            if error.status != _NO_FUNCTION:
                raise
            return "host"
    return "aot"


def _session(server: str) -> RpcSession:
    return RpcSession(connect_tcp(*host_and_port(server)))
