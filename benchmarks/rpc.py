"""Measures RPC links and writes docs/benchmarks_rpc.md: bytes and calls per second.

In: nothing, or names of links. Out: the page; of a choice, the same on standard output. Unlike the
other benchmarks these are wall-clock times of a link, of this machine, its load included: they tell
what a link costs, not what a core does. Takes a minute or two.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

import numpy as np  # noqa: E402

from utvm.device.crt import crt_include_dir  # noqa: E402
from utvm.device.link import build_elf  # noqa: E402
from utvm.device.rpc_client import RpcSession  # noqa: E402
from utvm.device.rpc_program import connect, rpc_sources  # noqa: E402
from utvm.device.session import DeviceTensor  # noqa: E402
from utvm.device.stream_qemu import Uart  # noqa: E402
from utvm.device.toolchain import find_toolchain  # noqa: E402
from utvm.support.errors import ToolchainError  # noqa: E402
from utvm.target.board import load_board  # noqa: E402
from utvm.target.target import load_target  # noqa: E402

PAGE = ROOT / "docs" / "benchmarks_rpc.md"
SERVER = ROOT / "benchmarks" / "rpc_server.c"
BLOCK_BYTES = 16 * 1024
QUEUED_CALLS = 500
SECONDS = 1.0
"""How long each figure is measured for, at least; and three times."""


@dataclass(frozen=True)
class Link:
    """A board, and what QEMU joins its UART to."""

    name: str
    board: str
    uart: Uart = Uart.PIPE


LINKS = (
    Link("host subprocess, pipe", "host"),
    Link("QEMU mps2_an386, pipe", "mps2_an386"),
    Link("QEMU mps2_an386, socket", "mps2_an386", Uart.SOCKET),
    Link("QEMU mps2_an386, pseudo-terminal", "mps2_an386", Uart.PTY),
    Link("QEMU mps2_an521, pipe", "mps2_an521"),
    Link("QEMU qemu_riscv32, pipe", "qemu_riscv32"),
    Link("emulator emu_cortex_m4, in process", "emu_cortex_m4"),
)


@dataclass(frozen=True)
class Figures:
    """Per second."""

    link: Link
    write_bytes: float
    read_bytes: float
    calls: float
    queued_calls: float


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("words", nargs="*", help="measure the links that have one in their name")
    words = parser.parse_args().words
    chosen = [link for link in LINKS if not words or any(word in link.name for word in words)]
    with tempfile.TemporaryDirectory() as folder:
        figures = [result for link in chosen if (result := measure(link, Path(folder)))]
    page = report(figures)
    if words or len(figures) < len(LINKS):
        print(page, end="")
    else:
        PAGE.write_text(page, encoding="utf-8")
        print(f"{PAGE.relative_to(ROOT)} written")
    return 0


def measure(link: Link, folder: Path) -> Figures | None:
    """None: what the link needs is not installed."""
    board = load_board(link.board)
    target = load_target(board.target)
    program = build_elf(
        find_toolchain(None, target),
        target,
        board,
        [SERVER, *rpc_sources(board)],
        [crt_include_dir()],
        folder / f"{board.name}.elf",
    )
    try:
        stream = connect(program, board, link.uart)
    except ToolchainError as error:
        print(f"{link.name}: {error}", file=sys.stderr)
        return None
    with RpcSession(stream, timeout_seconds=60) as session:
        return measure_session(link, session)


def measure_session(link: Link, session: RpcSession) -> Figures:
    """Bytes go in frames of 1 KiB; a call has one tensor of 4 bytes."""
    data = bytes(range(256)) * (BLOCK_BYTES // 256)
    address = session.allocate(BLOCK_BYTES)
    function = session.function("nothing")
    tensor = DeviceTensor(address, (4,), np.dtype(np.uint8))

    def write() -> None:
        session.write(address, data)
        session.flush()

    def read() -> None:
        if session.read(address, BLOCK_BYTES) != data:
            raise SystemExit("the device returned other bytes than it got")

    def call() -> None:
        session.call(function, [tensor])
        session.flush()

    def calls() -> None:
        for _ in range(QUEUED_CALLS):
            session.call(function, [tensor])
        session.flush()

    return Figures(
        link,
        BLOCK_BYTES * per_second(write),
        BLOCK_BYTES * per_second(read),
        per_second(call),
        QUEUED_CALLS * per_second(calls),
    )


def per_second(action: Callable[[], None]) -> float:
    """How often the action can be done: the median of three rates, after a run that counts not."""
    action()
    rates = []
    for _ in range(3):
        start = time.perf_counter()
        count = 0
        while (elapsed := time.perf_counter() - start) < SECONDS / 3 or count == 0:
            action()
            count += 1
        rates.append(count / elapsed)
    return statistics.median(rates)


def report(figures: Sequence[Figures]) -> str:
    """The page."""
    lines = [
        "# RPC links",
        "",
        "Written by `python benchmarks/rpc.py`; do not edit. Wall-clock figures of a link, medians",
        f"of three, on {platform.machine()} {platform.system()} with {os.cpu_count()} processors",
        f"that do other work, too (load average {os.getloadavg()[1]:.0f}). Emulated UARTs",
        "pass bytes as fast as the core moves them (QEMU's UART for MPS2 boards takes one byte per",
        "turn of its main loop), not at a baud rate: a real UART at 115200 baud carries 11.5 kB/s.",
        "Frames of 1 KiB; *call* is a round trip with one call of an operator that does nothing,",
        "*queued calls* go 500 at a time.",
        "",
        "| link | to the device, kB/s | from it, kB/s | calls/s | queued calls/s |",
        "| --- | --: | --: | --: | --: |",
    ]
    for f in figures:
        lines.append(
            f"| {f.link.name} | {f.write_bytes / 1000:.0f} | {f.read_bytes / 1000:.0f} "
            f"| {f.calls:.0f} | {f.queued_calls:.0f} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    raise SystemExit(main())
