"""The argument MODEL and the options of a build, which several commands share.

In: a click command function. Out: the same with the options added. Names are looked up by
``driver.options``; here they stay text.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from utvm.driver.options import DEFAULT_TARGET, EXECUTORS, SESSION_EXECUTORS
from utvm.driver.transports import usages
from utvm.schedule.module import OBJECTIVES

Function = Callable[..., Any]


def model_argument(function: Function) -> Function:
    """MODEL, and --params for models whose constants lie beside them."""
    params = click.option(
        "--params", type=Path, metavar="P.npz", help="Constants of a .graph model, by name."
    )
    return click.argument("model", type=Path)(params(function))


def target_options(function: Function) -> Function:
    """--target, --board and --toolchain."""
    options = (
        click.option("--target", metavar="T", help=f"Processor; default {DEFAULT_TARGET}."),
        click.option("--board", metavar="B", help="Board, or the folder of one."),
        click.option("--toolchain", metavar="C", help="zig (default), gcc, or a GCC-like program."),
    )
    for option in reversed(options):
        function = option(function)
    return function


def schedule_options(function: Function) -> Function:
    """--objective, --records and --portable-c."""
    objective = click.option(
        "--objective",
        type=click.Choice(OBJECTIVES),
        default=OBJECTIVES[0],
        show_default=True,
        help="What schedules save: cycles, size, or cycles within 1.5 times the parameters.",
    )
    portable = click.option(
        "--portable-c", is_flag=True, help="No assembly: C99 for any compiler, and slower."
    )
    records = click.option(
        "--records",
        multiple=True,
        metavar="F",
        help="Tuning records, also several times; none: untuned. Default: those of utvm itself.",
    )
    return objective(records(portable(function)))


def executor_option(function: Function) -> Function:
    """--executor, of a program that runs alone."""
    return _executor(EXECUTORS, function)


def session_options(function: Function) -> Function:
    """--executor and --transport."""
    transport = click.option(
        "--transport", metavar="T", help=f"Way to the device: {', '.join(usages())}."
    )
    loaded = click.option(
        "--load-params", is_flag=True, help="Copy parameters to RAM at start (graph, host)."
    )
    return _executor(SESSION_EXECUTORS, transport(loaded(function)))


def _executor(names: tuple[str, ...], function: Function) -> Function:
    choice = click.Choice(names)
    return click.option("--executor", type=choice, default=names[0], show_default=True)(function)


def build_options(function: Function) -> Function:
    """The target options, --executor and --transport."""
    return target_options(session_options(function))
