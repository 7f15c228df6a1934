"""``utvm rpc``: a board in another room, at both ends.

``serve`` builds a program, starts it, and puts its stream behind a TCP port. ``connect`` talks to
such a server: it says what is there, or runs a model on it. The work is done by ``driver.serve``
and ``driver.connect``.
"""

from __future__ import annotations

from pathlib import Path
from socket import socket

import click

from utvm.cli.command import EXIT_MISTAKE, EXIT_OK, print_json, reporting
from utvm.cli.json_form import device_json, run_json
from utvm.cli.model_options import build_options, target_options
from utvm.cli.output import progress, stdout_console
from utvm.cli.report import print_device, print_run
from utvm.driver.connect import describe_device, offered_executor
from utvm.driver.execute import RunRequest, execute
from utvm.driver.options import resolve_options
from utvm.driver.serve import DEFAULT_HOST, DEFAULT_PORT, is_loopback, listen, serve
from utvm.driver.serve_board import ServedBoard, served_board

_OPEN = "anyone who can reach this port can use the board: there is no password and no encryption"

_params = click.option(
    "--params", type=Path, metavar="P.npz", help="Constants of a .graph model, by name."
)
_model = click.argument("model", type=Path, required=False)


@click.group("rpc")
def command() -> None:
    """A board in another room: serve it there, connect from here. Both take --json.

    \b
      utvm rpc serve MODEL --board mps2_an386      where the board is
      utvm rpc connect HOST:9090 MODEL             where you are
    """


@command.command("serve")
@_model
@_params
@build_options
@click.option("--host", default=DEFAULT_HOST, show_default=True, help="Address to listen at.")
@click.option("--port", type=click.IntRange(0, 65535), default=DEFAULT_PORT, show_default=True)
@reporting
def serve_command(
    model: Path | None,
    params: Path | None,
    target: str | None,
    board: str | None,
    executor: str,
    transport: str | None,
    load_params: bool,
    toolchain: str | None,
    host: str,
    port: int,
    as_json: bool,
) -> int:
    """Put a board that runs MODEL behind a TCP port, for one client at a time, until Ctrl-C.

    Without MODEL it is a network of one operator, to try the link; with --transport serial:PORT it
    is whatever runs on the board there.
    """
    placed = "loaded" if load_params else "linked"
    names = (target, board, executor, toolchain, transport, placed)
    with (
        listen(host, port) as listener,
        progress() as notify,
        served_board(model, params, names, notify) as served,
    ):
        try:
            _announce(served, listener, as_json)
            notify("serving")
            serve(served.open, listener, lambda text: click.echo(text, err=True))
        except KeyboardInterrupt:
            click.echo("ended", err=True)
    return EXIT_OK


def _announce(served: ServedBoard, listener: socket, as_json: bool) -> None:
    """Says what is served where."""
    host, port = listener.getsockname()[:2]
    if not is_loopback(listener):
        click.echo(f"utvm: warning: {host}:{port}: {_OPEN}", err=True)
    if as_json:
        facts = {"board": served.board.name, "transport": str(served.transport)}
        print_json({"host": host, "port": port, **facts})
    else:
        click.echo(f"{served.board.title} at {host}:{port}, over {served.transport}; Ctrl-C ends")


@command.command("connect")
@click.argument("server", metavar="HOST:PORT")
@_model
@_params
@target_options
@click.option("--input", "inputs", type=Path, metavar="F.npz", help="Inputs: arrays in<k>.")
@click.option("--expect", "expected", type=Path, metavar="F.npz", help="Compare with out<k>.")
@click.option("--output", type=Path, metavar="F.npz", help="Write the outputs: arrays out<k>.")
@reporting
def connect_command(
    server: str,
    model: Path | None,
    params: Path | None,
    target: str | None,
    board: str | None,
    toolchain: str | None,
    inputs: Path | None,
    expected: Path | None,
    output: Path | None,
    as_json: bool,
) -> int:
    """Say what is at HOST:PORT; with MODEL, run it there, as utvm run --transport tcp:HOST:PORT.

    MODEL, --target and --board are those that the server was given; how the network is run there
    (--executor) is asked from the device.
    """
    if model is None:
        device = describe_device(server)
        if as_json:
            print_json(device_json(device))
        else:
            print_device(stdout_console(), device)
        return EXIT_OK
    with progress() as notify:
        executor = offered_executor(server, model, params)
        options = resolve_options(target, board, executor, toolchain, f"tcp:{server}")
        request = RunRequest(model, options, params, inputs, expected, output)
        report = execute(request, notify=notify)
    if as_json:
        print_json(run_json(report))
    else:
        print_run(stdout_console(), report, every_operator=False)
    matches = report.comparison is None or report.comparison.matches
    return EXIT_OK if matches else EXIT_MISTAKE
