"""``utvm run``: compile a model, run it on a device, show what it answers and what it costs.

In: a model and options. Out: tables, or one JSON object; exit code 1 where --expect does not match.
The work is done by ``driver.execute``; the tables are made in ``report.py``.
"""

from __future__ import annotations

from pathlib import Path

import click

from utvm.cli.command import EXIT_MISTAKE, EXIT_OK, print_json, reporting
from utvm.cli.json_form import run_json
from utvm.cli.model_options import build_options, model_argument, schedule_options
from utvm.cli.output import progress, stdout_console
from utvm.cli.report import print_memory_map, print_run
from utvm.cli.stages import stage_printer
from utvm.driver.execute import RunRequest, execute
from utvm.driver.memory_map import memory_map
from utvm.driver.options import resolve_run_options, with_schedules


@click.command("run")
@model_argument
@build_options
@schedule_options
@click.option("--input", "inputs", type=Path, metavar="F.npz", help="Inputs: arrays in<k>.")
@click.option("--expect", "expected", type=Path, metavar="F.npz", help="Compare with out<k>.")
@click.option("--output", type=Path, metavar="F.npz", help="Write the outputs: arrays out<k>.")
@click.option("--profile", is_flag=True, help="Show every operator, not only the costly ones.")
@click.option("--show-memory", is_flag=True, help="Show which functions and sections lie where.")
@click.option("--keep", type=Path, metavar="DIR", help="Leave the C, the ELF and the map there.")
@click.option("--print-after", metavar="STAGE", help="Print the IR after a stage, to stderr.")
@reporting
def command(
    model: Path,
    params: Path | None,
    target: str | None,
    board: str | None,
    executor: str,
    transport: str | None,
    load_params: bool,
    toolchain: str | None,
    objective: str,
    records: tuple[str, ...],
    portable_c: bool,
    inputs: Path | None,
    expected: Path | None,
    output: Path | None,
    profile: bool,
    show_memory: bool,
    keep: Path | None,
    print_after: str | None,
    as_json: bool,
) -> int:
    """Compile MODEL, run it on a device, and show its outputs, cost and memory.

    MODEL is a .tflite file or a .graph file. --input and --expect are .npz files; row n of their
    arrays in<k> and out<k> is one invocation, and one file may serve as both. Without --input the
    inputs are random numbers, the same every time.
    """
    placed = "loaded" if load_params else "linked"
    options = resolve_run_options(target, board, executor, toolchain, transport, placed)
    options = with_schedules(options, objective, portable_c, records)
    request = RunRequest(model, options, params, inputs, expected, output, keep)
    observe = stage_printer(print_after)
    with progress(enabled=print_after is None) as notify:
        report = execute(request, observe, notify)
    placed_parts = memory_map(report.build) if show_memory else None
    if as_json:
        print_json(run_json(report, placed_parts))
    else:
        print_run(stdout_console(), report, every_operator=profile)
        if placed_parts is not None:
            print_memory_map(stdout_console(), placed_parts)
    matches = report.comparison is None or report.comparison.matches
    return EXIT_OK if matches else EXIT_MISTAKE
