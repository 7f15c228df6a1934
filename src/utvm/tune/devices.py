"""The devices that a tuning run measures on: what a person types for them, and what that means.

In: names such as ``emulator*2``, ``qemu`` or ``openocd``, a target, and a board for the latter.
Out: ``Device``s, one per worker. Candidates are put into RAM, so a transport must reach memory;
flash is never written.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from utvm.driver.transports import (
    RAM,
    TRANSPORTS,
    Transport,
    check_transport,
    parse_transport,
    usage,
)
from utvm.support.errors import InputError
from utvm.support.text import printable
from utvm.target.board import list_boards, load_board
from utvm.target.target import Target

EMULATOR, QEMU = "emulator", "qemu"
MOST_WORKERS = 64


@dataclass(frozen=True)
class Device:
    """``name`` is what records say; ``board`` what ``load_board`` takes."""

    name: str
    board: str
    transport: Transport


def find_devices(names: Sequence[str], target: Target, board: str | None) -> list[Device]:
    """The devices of those names; without any, as many emulators as this machine has cores."""
    devices: list[Device] = []
    for name in names or (f"{EMULATOR}*{os.cpu_count() or 1}",):
        kind, star, number = name.partition("*")
        count = int(number) if number.isdecimal() and len(number) < 4 else 0
        if star and not (1 <= count <= MOST_WORKERS and kind in (EMULATOR, QEMU)):
            raise InputError(
                f"this is no number of devices: '{printable(name)}'",
                expected=f"{EMULATOR}*N or {QEMU}*N, N from 1 to {MOST_WORKERS}",
            )
        devices += [_device(kind, target, board)] * (count if star else 1)
    if len({device.name for device in devices}) > 1:
        raise InputError(
            "devices of several kinds cannot tune together",
            expected="one kind, since their cycles are compared",
            found=", ".join(dict.fromkeys(device.name for device in devices)),
        )
    if len(devices) > MOST_WORKERS:
        raise InputError("too many devices", expected=f"at most {MOST_WORKERS}")
    return devices


def _device(kind: str, target: Target, board: str | None) -> Device:
    if kind in (EMULATOR, QEMU):
        transport = Transport("memory" if kind == EMULATOR else "gdb")
        return Device(kind, _simulated(kind, target), transport)
    transport = parse_transport(kind)
    if TRANSPORTS[transport.name].program != RAM or transport.name == "memory":
        reached = [usage(n) for n, k in TRANSPORTS.items() if k.program == RAM and n != "memory"]
        raise InputError(
            f"'{printable(kind)}' cannot put kernels into a device's RAM",
            expected=f"one of {EMULATOR}[*N], {QEMU}[*N], {', '.join(reached)}",
        )
    if board is None:
        raise InputError(f"device '{printable(kind)}' needs --board", hint="utvm boards")
    found = load_board(board)
    check_transport(transport, found, "host")
    return Device(found.name, board, transport)


def _simulated(kind: str, target: Target) -> str:
    """The board of the target that runs in the emulator, or in QEMU."""
    names = (target.default_board, *list_boards())
    for name in names:
        board = load_board(name)
        if board.run == kind and board.target == target.name:
            return name
    raise InputError(f"no board of this target runs in {kind}", where=target.name)
