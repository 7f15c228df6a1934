"""Names of transports, which boards they reach, and what is refused before anything is built."""

from __future__ import annotations

from pathlib import Path

import pytest

from utvm.driver.build import build_model
from utvm.driver.load import load_model
from utvm.driver.options import SESSION_EXECUTORS, resolve_options, resolve_run_options
from utvm.driver.transports import (
    TRANSPORTS,
    check_transport,
    default_transport,
    host_and_port,
    parse_transport,
    usages,
)
from utvm.support.errors import InputError, MemoryLimitError, UnsupportedError
from utvm.target.board import list_boards, load_board

DIGITS = Path(__file__).parents[2] / "examples" / "digits" / "digits.tflite"


@pytest.mark.parametrize("name", TRANSPORTS)
def test_every_transport_has_a_way_to_open_it(name: str) -> None:
    kind = TRANSPORTS[name]
    assert (kind.open is None) == (name == "semihosting")
    assert kind.runs or kind.runs_with_argument
    assert bool(kind.argument) == bool(kind.runs_with_argument)


@pytest.mark.parametrize(
    ("text", "name", "argument"),
    [
        ("uart", "uart", ""),
        ("serial:/dev/ttyACM0:9600", "serial", "/dev/ttyACM0:9600"),
        ("gdb", "gdb", ""),
        ("gdb:[::1]:3333", "gdb", "[::1]:3333"),
        ("pyocd:0669FF", "pyocd", "0669FF"),
    ],
)
def test_names_are_taken_apart(text: str, name: str, argument: str) -> None:
    transport = parse_transport(text)
    assert (transport.name, transport.argument, str(transport)) == (name, argument, text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("jtag", r"unknown transport 'jtag'; expected one of semihosting, uart, .*serial:PORT"),
        ("serial", r"transport 'serial' is incomplete; expected serial:PORT\[:BAUD\]"),
        ("tcp:", "transport 'tcp:' is incomplete; expected tcp:HOST:PORT"),
        ("gdb:", r"transport 'gdb:' is incomplete; expected gdb\[:HOST:PORT\]"),
        ("uart:9600", "transport 'uart' takes no argument; expected uart; found uart:9600"),
    ],
)
def test_what_is_no_transport_is_refused(text: str, expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        parse_transport(text)


@pytest.mark.parametrize("executor", SESSION_EXECUTORS)
@pytest.mark.parametrize("board", [name for name in list_boards() if name != "esp32c3"])
def test_every_board_has_a_default(board: str, executor: str) -> None:
    found = load_board(board)
    check_transport(default_transport(found, executor), found, executor)


def test_pairs_that_cannot_be_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"emu_cortex_m4: ?.*'openocd' does not reach this board"):
        resolve_run_options(board="emu_cortex_m4", transport="openocd")
    with pytest.raises(InputError, match=r"executor 'host' calls kernels .* such as memory"):
        resolve_run_options(board="emu_cortex_m4", executor="host", transport="semihosting")
    with pytest.raises(InputError, match="'aot' has no parameters that are loaded"):
        resolve_run_options(params="loaded")
    with pytest.raises(InputError, match="unknown executor 'vm'; expected one of aot, graph, host"):
        resolve_run_options(executor="vm")
    with pytest.raises(UnsupportedError, match="emu_cortex_m0plus: there is no RPC server"):
        build("emu_cortex_m0plus", "uart", tmp_path)


def build(board: str, transport: str, folder: Path) -> None:
    options = resolve_options(board=board, transport=transport)
    build_model(load_model(DIGITS), options, folder)


@pytest.mark.parametrize("executor", SESSION_EXECUTORS)
def test_a_program_that_is_larger_than_the_ram_says_by_how_much(
    executor: str, tmp_path: Path
) -> None:
    options = resolve_options(board="microbit", transport="gdb", executor=executor)
    expected = (
        r"microbit: ram: .*expected at most 16384 bytes; found \d{5} bytes; hint: use a board"
    )
    with pytest.raises(MemoryLimitError, match=expected):
        build_model(load_model(DIGITS), options, tmp_path)


@pytest.mark.parametrize("text", ["", "host", "host:", ":80", "host:http", "host:0", "host:65536"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="this is no address; expected HOST:PORT; found"):
        host_and_port(text)


def test_addresses() -> None:
    assert host_and_port("[::1]:80") == ("::1", 80)
    assert host_and_port("board.example:9090") == ("board.example", 9090)
    assert "pyocd[:PROBE]" in usages()
