"""Runs a network over a session, row by row, and collects what the device's counter says.

In: a ``Build`` whose transport has sessions, and rows of inputs. Out: a ``SessionRun``. Cycles are
counted where the counter counts cycles: modelled ones on emulated boards, the core's own on real
ones. QEMU's counters and this computer's clock measure something else, and are left out.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

from utvm.device.session import Session, Timing
from utvm.driver.build import Build
from utvm.driver.session_network import SessionNetwork
from utvm.driver.tensors import Rows
from utvm.driver.transports import open_session

Progress = Callable[[str], None]
COUNTED = ("emulator", "probe")
"""The kinds of boards whose counter counts cycles."""


@dataclass(frozen=True, eq=False)
class SessionRun:
    """``cycles`` are those of each step in each row, by the step's name; none: not counted."""

    outputs: Rows
    cycles: tuple[dict[str, int], ...]
    stack_bytes: int | None


def run_in_session(build: Build, inputs: Rows, progress: Progress) -> SessionRun:
    """Opens a session, runs the network once per row, and closes it."""
    options = build.options
    rows = len(inputs[0])
    with closing(open_session(options.transport, build.endpoint)) as session:
        network = SessionNetwork(build.compiled, session)

        def tell(row: int) -> None:
            progress(f"running: row {row} of {rows}")

        if options.board.run in COUNTED:
            outputs, timings = network.measure(inputs, tell)
        else:
            outputs, timings = network.run(inputs, tell), []
        names = [step.name for step in network.steps]
        cycles = tuple(_by_name(names, row) for row in timings)
        return SessionRun(outputs, cycles, _stack_bytes(session))


def _by_name(names: list[str], row: tuple[Timing, ...]) -> dict[str, int]:
    cycles: dict[str, int] = {}
    for name, timing in zip(names, row, strict=True):
        cycles[name] = cycles.get(name, 0) + timing.cycles[0]
    return cycles


def _stack_bytes(session: Session) -> int | None:
    """The deepest use of the stack, where the device measures it."""
    return session.statistics().stack_peak_bytes or None
