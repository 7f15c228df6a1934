"""The board that ``utvm rpc serve`` serves: builds its program and knows how to open its stream.

In: a model or none, and the names of a build's options. Out: ``ServedBoard``, for as long as the
block lasts: its program lies in a folder that is gone afterwards.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from utvm.device.stream import ByteStream
from utvm.driver.build import build_graph
from utvm.driver.load import Model, import_model, load_model
from utvm.driver.options import BuildOptions, resolve_board, resolve_options
from utvm.driver.stages import one_operator_graph
from utvm.driver.transports import ELSEWHERE, SERVER, Endpoint, Transport, open_stream
from utvm.support.errors import InputError
from utvm.target.board import Board

Names = tuple[str | None, str | None, str, str | None, str | None, str]
"""Target, board, executor, toolchain, transport, parameters; as ``resolve_options`` takes them."""


@dataclass(frozen=True)
class ServedBoard:
    """``open`` starts the program, or opens the port that the board is at."""

    board: Board
    transport: Transport
    open: Callable[[], ByteStream]


@contextmanager
def served_board(
    model: Path | None, params: Path | None, names: Names, notify: Callable[[str], None]
) -> Iterator[ServedBoard]:
    """The board with a program for ``model``."""
    options = _options(names)
    transport = options.transport
    with tempfile.TemporaryDirectory(prefix="utvm-") as scratch:
        endpoint = Endpoint(options.board, options.target, transport.argument, None)
        if transport.program != ELSEWHERE:
            notify(f"compiling for {options.target.name}")
            endpoint = _built(model, params, options, Path(scratch))
        yield ServedBoard(options.board, transport, lambda: open_stream(transport, endpoint))


def _options(names: Names) -> BuildOptions:
    """The options, over a transport that carries bytes."""
    target, board, executor, toolchain, transport, params = names
    found = resolve_board(target, board)[1]
    if transport is None:
        if found.run == "probe":
            raise InputError(
                "this board is served over its serial port",
                where=found.name,
                expected="--transport serial:PORT",
            )
        transport = "process" if found.run == "host" else "uart"
    options = resolve_options(target, board, executor, toolchain, transport, params)
    if options.transport.program not in (SERVER, ELSEWHERE):
        raise InputError(
            f"transport '{options.transport.name}' carries no bytes to serve",
            expected="uart, process, serial:PORT or tcp:HOST:PORT",
        )
    return options


def _built(path: Path | None, params: Path | None, options: BuildOptions, folder: Path) -> Endpoint:
    if path is None:
        graph = one_operator_graph()
        model = Model(graph.name, Path(graph.name), "graph", b"")
    else:
        model = load_model(path, params)
        graph = import_model(model)
    return build_graph(model, graph, options, folder).endpoint
