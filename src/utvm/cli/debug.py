"""``utvm debug``: gdb on a running model, stopped at an operator.

In: a model, options, and maybe commands for gdb. Out: gdb at the terminal; with --batch what it
says; with --json what would be run, and with both what it said. The work is in ``driver.debug``.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from utvm.cli.command import EXIT_MISTAKE, EXIT_OK, print_json, reporting
from utvm.cli.json_form import Json
from utvm.cli.model_options import executor_option, model_argument, target_options
from utvm.cli.output import progress
from utvm.driver.debug import (
    DebugOutput,
    DebugPlan,
    DebugRequest,
    plan_debug,
    resolve_debug_options,
    run_batch,
    run_terminal,
)

BACKTRACE = "backtrace"


@click.command("debug")
@model_argument
@target_options
@executor_option
@click.option("--break", "operator", metavar="OPERATOR", help="Stop there; default: the first.")
@click.option("--input", "inputs", type=Path, metavar="F.npz", help="Inputs: arrays in<k>.")
@click.option("--gdb", metavar="PROGRAM", help="Default gdb-multiarch.")
@click.option("--batch", is_flag=True, help="Stop, do the commands, end; no terminal.")
@click.option(
    "--command", "commands", multiple=True, metavar="C", help=f"With --batch; default {BACKTRACE}."
)
@reporting
def command(
    model: Path,
    params: Path | None,
    target: str | None,
    board: str | None,
    executor: str,
    toolchain: str | None,
    operator: str | None,
    inputs: Path | None,
    gdb: str | None,
    batch: bool,
    commands: tuple[str, ...],
    as_json: bool,
) -> int:
    """Run MODEL on a board that QEMU emulates, and open gdb where OPERATOR begins.

    Operators have the names that utvm run shows. The code is optimized as it is there, so some
    variables are gone. --json without --batch starts nothing.
    """
    if commands and not batch:
        raise click.UsageError("--command needs --batch")
    options = resolve_debug_options(target, board, executor, toolchain)
    request = DebugRequest(model, options, params, inputs, operator, gdb)
    with tempfile.TemporaryDirectory(prefix="utvm-debug-") as scratch:
        with progress() as notify:
            plan = plan_debug(request, Path(scratch), notify)
        if batch:
            output = run_batch(plan, commands or (BACKTRACE,))
            if as_json:
                print_json(_plan_json(plan, output))
            else:
                click.echo(output.gdb, nl=False)
            return EXIT_OK
        if as_json:
            print_json(_plan_json(plan, None))
            return EXIT_OK
        click.echo(f"{plan.operator} is {plan.symbol}; leave gdb with quit", err=True)
        return EXIT_OK if run_terminal(plan) == 0 else EXIT_MISTAKE


def _plan_json(plan: DebugPlan, output: DebugOutput | None) -> Json:
    options = plan.build.options
    return {
        "model": str(plan.build.model.path),
        "target": options.target.name,
        "board": options.board.name,
        "executor": options.executor,
        "toolchain": options.toolchain.name,
        "operator": plan.operator,
        "symbol": plan.symbol,
        "gdb": plan.gdb_command(),
        "commands": plan.commands,
        "output": None if output is None else output.gdb,
        "console": None if output is None else output.console,
    }
