"""``utvm tune``: searches faster schedules for a model's kernels on devices, and records them.

In: a model, a target, a file of records. Out: the file, with a line more per trial; a table of what
each task gained and the curve of the best so far, or one JSON object; the curve as a drawing.
Ctrl-C ends a run cleanly, and the same command goes on with it. The work is done by ``tune.tuner``.
"""

from __future__ import annotations

from pathlib import Path

import click

from utvm.cli.command import EXIT_INTERRUPTED, EXIT_OK, print_json, reporting
from utvm.cli.model_options import model_argument, target_options
from utvm.cli.output import count, plain_table, stdout_console
from utvm.cli.tune_curve import check_plot, curve_lines, write_plot
from utvm.cli.tune_progress import showing
from utvm.driver.options import resolve_board
from utvm.schedule.module import OBJECTIVES
from utvm.tune.search import SEARCHES
from utvm.tune.tuner import TuneReport, TuneRequest, tune


@click.command("tune")
@model_argument
@target_options
@click.option("--records", type=Path, required=True, metavar="F", help="File to write to; goes on.")
@click.option(
    "--trials", default=500, show_default=True, help="Trials in the file, with earlier ones."
)
@click.option("--search", type=click.Choice(SEARCHES), default=SEARCHES[0], show_default=True)
@click.option(
    "--devices",
    multiple=True,
    metavar="D",
    help="emulator[*N] (default, one per core), qemu[*N], or a transport to --board; repeatable.",
)
@click.option(
    "--objective",
    type=click.Choice(OBJECTIVES),
    default=OBJECTIVES[0],
    show_default=True,
    help="What is to be saved: cycles, size, or cycles with few and with many constants.",
)
@click.option("--plot", type=Path, metavar="F.svg", help="Draw the best cycles over the trials.")
@click.option("--seed", default=0, show_default=True, help="Of the search's random numbers.")
@reporting
def command(
    model: Path,
    params: Path | None,
    target: str | None,
    board: str | None,
    toolchain: str | None,
    records: Path,
    trials: int,
    search: str,
    devices: tuple[str, ...],
    objective: str,
    plot: Path | None,
    seed: int,
    as_json: bool,
) -> int:
    """Search faster schedules for MODEL, and write what was measured to a file of records.

    `utvm run`, `compile` and `inspect` use the file with --records. The run may be ended at any
    moment; the same command goes on with it.
    """
    check_plot(plot)
    found_target, _ = resolve_board(target, board)
    request = TuneRequest(
        model=model,
        target=found_target.name,
        records=records,
        params=params,
        trials=trials,
        search=search,
        objective=objective,
        devices=devices,
        board=board,
        toolchain=toolchain,
        seed=seed,
    )
    with showing(quiet=as_json) as watch:
        report = tune(request, watch)
    if plot is not None:
        write_plot(plot, report, model.stem)
    if as_json:
        print_json(_json(report, records))
    else:
        _print(report, records)
    return EXIT_INTERRUPTED if report.interrupted else EXIT_OK


def _json(report: TuneReport, records: Path) -> dict[str, object]:
    tasks = [
        {
            "workload": state.task.workload.key,
            "about": state.task.workload.about,
            "kernels": list(state.task.kernels),
            "space": len(state.known.space),
            "trials": state.trials,
            "untuned_cycles": state.untuned,
            "tuned_cycles": state.best,
            "config": dict(state.best_config or ()),
        }
        for state in report.states
    ]
    return {
        "records": str(records),
        "target": report.target.name,
        "trials": report.done,
        "new_trials": report.new_trials,
        "failed_trials": report.failed,
        "skipped_lines": report.skipped_lines,
        "seconds": round(report.seconds, 3),
        "exhausted": report.exhausted,
        "interrupted": report.interrupted,
        "curve": [point.best for point in report.curve],
        "curve_seconds": [round(point.seconds, 1) for point in report.curve],
        "tasks": tasks,
    }


def _print(report: TuneReport, records: Path) -> None:
    console = stdout_console()
    table = plain_table(
        "kernel", "calls", "trials", "space", "untuned", "tuned", "gain", "schedule",
        right=("calls", "trials", "space", "untuned", "tuned", "gain"),
    )  # fmt: skip
    for state in report.states:
        knobs = dict(state.best_config or ())
        template = str(knobs.pop("template", ""))
        schedule = " ".join([template, *(f"{name}={value}" for name, value in knobs.items())])
        table.add_row(
            state.task.kernels[0],
            count(state.task.calls),
            count(state.trials),
            count(len(state.known.space)),
            count(state.untuned),
            count(state.best),
            _gain(state.untuned, state.best),
            schedule,
        )
    console.print(table)
    console.print()
    for line in curve_lines(report.curve, console):
        console.print(line, soft_wrap=True)
    untuned, tuned = report.untuned, report.tuned
    gain = _gain(untuned, tuned)
    console.print(f"cycles       {count(untuned)} untuned, {count(tuned)} tuned ({gain})")
    console.print(f"trials       {_trials(report)}", soft_wrap=True)
    console.print(f"records      {records}", soft_wrap=True)


def _trials(report: TuneReport) -> str:
    rate = report.new_trials / report.seconds if report.seconds else 0.0
    parts = [f"{report.done} in the file", f"{report.new_trials} new ({rate:.1f} per second)"]
    if report.failed:
        parts.append(f"{report.failed} failed")
    if report.skipped_lines:
        parts.append(f"{report.skipped_lines} broken lines skipped")
    if report.exhausted:
        parts.append("all schedules were tried")
    if report.interrupted:
        parts.append("interrupted: the same command goes on")
    return ", ".join(parts)


def _gain(before: int | None, after: int | None) -> str:
    return f"{1 - after / before:.1%}" if before and after else "-"
