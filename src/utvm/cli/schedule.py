"""``utvm schedule``: how the kernels of a model are scheduled, from loop nest to assembly.

In: a model, a target, and perhaps one operator. Out: per kernel a section with titled parts, or one
JSON object. ``--steps`` adds the loop nest behind each step.
"""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console
from rich.rule import Rule

from utvm.cli.command import EXIT_OK, print_json, reporting
from utvm.cli.model_options import model_argument, schedule_options, target_options
from utvm.cli.output import progress, stdout_console
from utvm.driver.load import import_model, load_model
from utvm.driver.options import resolve_options, with_schedules
from utvm.driver.schedules import KernelView, view_schedules


@click.command("schedule")
@model_argument
@target_options
@schedule_options
@click.option("--operator", metavar="NAME", help="One kernel, or the kernels of one operator.")
@click.option("--steps", is_flag=True, help="Show the loop nest behind each step.")
@reporting
def command(
    model: Path,
    params: Path | None,
    target: str | None,
    board: str | None,
    toolchain: str | None,
    objective: str,
    portable_c: bool,
    records: tuple[str, ...],
    operator: str | None,
    steps: bool,
    as_json: bool,
) -> int:
    """Show how the kernels of MODEL are scheduled: their loops before and after.

    A kernel is scheduled by steps, or made anew in register blocks: a line buffer, and micro
    functions, which are shown as loops and as the assembly that becomes of them.
    """
    options = resolve_options(target, board, toolchain=toolchain)
    options = with_schedules(options, objective, portable_c, records)
    with progress() as notify:
        notify(f"compiling for {options.target.name}")
        graph = import_model(load_model(model, params))
        views = view_schedules(graph, options, operator)
    if as_json:
        print_json({"target": options.target.name, "kernels": [_json(view) for view in views]})
        return EXIT_OK
    console = stdout_console()
    for view in views:
        _print(console, view, steps)
    return EXIT_OK


def _print(console: Console, view: KernelView, steps: bool) -> None:
    _title(console, f"{view.name}: {view.op}", "=")
    for line in view.about:
        console.print(line, soft_wrap=True)
    _part(console, "unscheduled", view.unscheduled)
    if view.steps:
        _part(console, "steps", "\n".join(step for step, _ in view.steps))
    if steps:
        for step, nest in view.steps:
            _part(console, f"after {step}", nest)
    blocks = " in register blocks" if view.micros else ""
    _part(console, f"scheduled{blocks}", view.scheduled)
    for micro in view.micros:
        _part(console, f"micro function {micro.name}", micro.text)
        if micro.assembly:
            _part(console, f"assembly of {micro.name}", micro.assembly)


def _part(console: Console, title: str, text: str) -> None:
    console.print()
    _title(console, title, "-")
    console.print(text.rstrip("\n"), soft_wrap=True)


def _title(console: Console, title: str, mark: str) -> None:
    """A line across a terminal; in a pipe a heading that programs find."""
    if console.is_terminal and not console.options.ascii_only:
        console.print(Rule(title, align="left", style="bold" if mark == "=" else "dim"))
    else:
        console.print(f"{mark * 3} {title}", soft_wrap=True)


def _json(view: KernelView) -> dict[str, object]:
    return {
        "name": view.name,
        "op": view.op,
        "about": list(view.about),
        "unscheduled": view.unscheduled,
        "steps": [{"step": step, "nest": nest} for step, nest in view.steps],
        "scheduled": view.scheduled,
        "micro_functions": [
            {"name": micro.name, "text": micro.text, "assembly": micro.assembly}
            for micro in view.micros
        ],
    }
