"""``utvm rpc``: a served board answers, one client after the other, and ends with Ctrl-C.

The server is a process of its own, as it is in real life; the board is this computer.
"""

from __future__ import annotations

import json
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import COMMAND, Utvm
from tests.conftest import PATIENCE_SECONDS
from utvm.device.rpc_client import RpcSession
from utvm.device.session import StreamClosedError
from utvm.device.stream_tcp import connect_tcp
from utvm.support.errors import DeviceError


class Served:
    """A running server. ``address`` is where it listens."""

    def __init__(self, *arguments: object) -> None:
        self.process = subprocess.Popen(
            [*COMMAND, "rpc", "serve", *map(str, arguments), "--port", "0", "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        lines: list[str] = []
        while not lines or lines[-1] != "}\n":
            lines.append(self.process.stdout.readline())
            assert lines[-1], self.process.communicate()
        self.facts = json.loads("".join(lines))
        self.port = int(self.facts["port"])
        self.address = f"127.0.0.1:{self.port}"

    def stop(self) -> tuple[int, str, str]:
        """Ends it with Ctrl-C: exit code and what else it said."""
        self.process.send_signal(signal.SIGINT)
        out, err = self.process.communicate(timeout=PATIENCE_SECONDS)
        return self.process.returncode, out, err


@pytest.fixture(params=["aot", "host"])
def served(request: pytest.FixtureRequest, digits: Path) -> Iterator[Served]:
    server = Served(digits, "--target", "host", "--executor", request.param)
    yield server
    server.process.kill()
    server.process.communicate()


def test_clients_come_one_after_the_other(
    served: Served, utvm: Utvm, digits: Path, digits_rows: Path
) -> None:
    assert served.facts == {
        "host": "127.0.0.1",
        "port": served.port,
        "board": "host",
        "transport": "process",
    }
    described = json.loads(utvm("rpc", "connect", served.address, "--json").out)
    assert described["statistics"]["calls"] == 0
    assert len(described["function_statistics"]) == described["functions"] > 0
    shown = utvm("rpc", "connect", served.address)
    assert (shown.code, shown.err) == (0, "")
    assert f"{served.address}: RPC version" in shown.out and "memory peak bytes" in shown.out
    data = ("--input", digits_rows, "--expect", digits_rows, "--target", "host")
    ran = utvm("rpc", "connect", served.address, digits, *data, "--json")
    assert ran.code == 0, ran.err
    report = json.loads(ran.out)
    assert (report["matches"], report["transport"]) == (True, f"tcp:{served.address}")
    stream = connect_tcp("127.0.0.1", served.port)
    with RpcSession(stream, timeout_seconds=PATIENCE_SECONDS) as session:
        assert session.statistics().calls == 0, "a board that was started anew"
        with pytest.raises(StreamClosedError, match=r"hint: .* or it serves another client"):
            RpcSession(connect_tcp("127.0.0.1", served.port), timeout_seconds=PATIENCE_SECONDS)
    code, out, err = served.stop()
    assert (code, out) == (0, "")
    assert err.count("has connected") == 5 and err.endswith("ended\n")


def test_another_network_is_refused(served: Served, utvm: Utvm, tmp_path: Path) -> None:
    other = tmp_path / "other.graph"
    other.write_bytes((Path(__file__).parents[2] / "examples/digits/digits.tflite").read_bytes())
    done = utvm("rpc", "connect", served.address, other, "--target", "host")
    assert (done.code, done.out, done.err.count("\n")) == (1, "", 1)
    assert "the device does not have this network; hint: build its program from" in done.err


def test_without_a_model_the_link_can_be_tried(utvm: Utvm) -> None:
    server = Served("--target", "host")
    try:
        assert json.loads(utvm("rpc", "connect", server.address, "--json").out)["functions"] == 1
    finally:
        code, _, err = server.stop()
    assert code == 0 and "warning" not in err


def test_an_open_port_is_warned_of() -> None:
    server = Served("--target", "host", "--host", "0.0.0.0")
    code, _, err = server.stop()
    assert code == 0
    assert "warning: 0.0.0.0:" in err and "no password and no encryption" in err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--board", "nucleo_f746zg"), "served over its serial port; expected --transport serial:"),
        (("--target", "host", "--host", "nowhere.invalid"), "address cannot be listened on; found"),
        (("--target", "cortex-m4", "--transport", "memory"), "'memory' carries no bytes to serve"),
    ],
)
def test_what_cannot_be_served(utvm: Utvm, arguments: tuple[str, ...], expected: str) -> None:
    done = utvm("rpc", "serve", *arguments, "--port", "0")
    assert (done.code, done.out, done.err.count("\n")) == (1, "", 1)
    assert expected in done.err


def test_nobody_listens(utvm: Utvm) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    done = utvm("rpc", "connect", f"127.0.0.1:{port}")
    assert (done.code, done.out, done.err.count("\n")) == (1, "", 1)
    assert "there is no connection to the server; found Connection refused" in done.err
    with pytest.raises(DeviceError, match="found"):
        connect_tcp("nowhere.invalid", 1)
