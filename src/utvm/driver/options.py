"""The typed options of a build: target, board, toolchain, executor, transport.

In: names as a person types them. Out: ``BuildOptions`` with everything looked up, so that a
mistake is refused before any work starts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from utvm.device.toolchain import Toolchain, find_toolchain
from utvm.driver.transports import (
    ALONE,
    Transport,
    check_transport,
    default_transport,
    parse_transport,
)
from utvm.schedule.module import OBJECTIVES
from utvm.schedule.records import NO_RECORDS, Records, load_records
from utvm.support.errors import InputError
from utvm.support.text import printable
from utvm.target.board import Board, load_board
from utvm.target.target import Target, load_target

DEFAULT_TARGET = "cortex-m7"
UNTUNED = "none"
SHIPPED_RECORDS = Path(__file__).parents[1] / "records"
"""Tuning records that come with utvm: ``<target>.jsonl``."""
EXECUTORS = ("aot", "graph")
"""Those that run a whole network on the device."""
SESSION_EXECUTORS = (*EXECUTORS, "host")
"""And the one that keeps the graph on the host, and calls kernels over a session."""
PARAMS = ("linked", "loaded")
"""Where graph and host have their parameters: in the kernels' code, or copied to RAM at start."""


OPTIMIZE = {"size": "-Os"}
"""What the compiler saves; the assembly of micro functions stays as it is."""


@dataclass(frozen=True)
class BuildOptions:
    """For what, and with what, a program is built."""

    target: Target
    board: Board
    toolchain: Toolchain
    executor: str = "aot"
    optimize: str = "-O2"
    params: str = "linked"  # one of PARAMS; ahead-of-time code has them linked
    transport: Transport = ALONE
    objective: str = "balanced"  # one of OBJECTIVES
    portable_c: bool = False  # no assembly, wherever it would be faster
    records: Records = NO_RECORDS  # what was measured of schedules


def resolve_options(
    target: str | None = None,
    board: str | None = None,
    executor: str = "aot",
    toolchain: str | None = None,
    transport: str | None = None,
    params: str = "linked",
) -> BuildOptions:
    """Looks the names up. A board implies its target, a target its default board.

    Without a ``transport`` the program is one that runs alone, which every board takes.
    """
    found_target, found_board = resolve_board(target, board)
    check_executor(executor, SESSION_EXECUTORS)
    if params not in PARAMS or (params == "loaded" and executor == "aot"):
        raise InputError(
            f"executor '{executor}' has no parameters that are {printable(params)}",
            expected="graph or host with 'loaded'; or 'linked'",
        )
    found = ALONE if transport is None else parse_transport(transport)
    if transport is not None:
        check_transport(found, found_board, executor)
    toolchain_found = find_toolchain(toolchain, found_target)
    return BuildOptions(
        found_target, found_board, toolchain_found, executor, params=params, transport=found
    )


def resolve_run_options(
    target: str | None = None,
    board: str | None = None,
    executor: str = "aot",
    toolchain: str | None = None,
    transport: str | None = None,
    params: str = "linked",
) -> BuildOptions:
    """The same for what is to run: without a ``transport``, the default one of the board."""
    if transport is None:
        check_executor(executor, SESSION_EXECUTORS)
        transport = str(default_transport(resolve_board(target, board)[1], executor))
    return resolve_options(target, board, executor, toolchain, transport, params)


def with_schedules(
    options: BuildOptions, objective: str, portable_c: bool, records: Sequence[str] = ()
) -> BuildOptions:
    """The same options for other schedules; ``records`` are files, or what ``find_records`` says
    of none."""
    check_objective(objective)
    found = find_records(records, options.target)
    return replace(
        options,
        objective=objective,
        portable_c=portable_c,
        records=found,
        optimize=OPTIMIZE.get(objective, options.optimize),
    )


def check_objective(objective: str) -> None:
    """Refuses what is no objective."""
    if objective not in OBJECTIVES:
        raise InputError(
            f"unknown objective '{printable(objective)}'",
            expected=f"one of {', '.join(OBJECTIVES)}",
        )


def find_records(names: Sequence[str], target: Target) -> Records:
    """The records in the files of those names. Without any, those that utvm brings for the target;
    with the only name 'none', no records at all. Later files win."""
    if tuple(names) == (UNTUNED,):
        return NO_RECORDS
    if UNTUNED in names:
        raise InputError(f"--records {UNTUNED} goes with no other records")
    shipped = SHIPPED_RECORDS / f"{target.name}.jsonl"
    paths = [Path(name) for name in names] or ([shipped] if shipped.is_file() else [])
    return load_records(paths, target.name)[0]


def check_executor(executor: str, known: tuple[str, ...] = EXECUTORS) -> None:
    """Refuses what is no executor."""
    if executor not in known:
        raise InputError(
            f"unknown executor '{printable(executor)}'", expected=f"one of {', '.join(known)}"
        )


def resolve_board(target: str | None, board: str | None) -> tuple[Target, Board]:
    """The target and the board that belong together."""
    if board is None:
        found = load_target(target or DEFAULT_TARGET)
        return found, load_board(found.default_board)
    found_board = load_board(board)
    if target is not None and load_target(target).name != found_board.target:
        raise InputError(
            f"board '{found_board.name}' has another processor",
            expected=f"--target {found_board.target}",
            found=f"--target {target}",
            hint="leave --target out: the board implies it",
        )
    return load_target(found_board.target), found_board
