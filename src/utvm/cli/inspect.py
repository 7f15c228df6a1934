"""``utvm inspect``: every operator of a model, its support, MACs, expected cycles, flash and RAM.

In: a model and a target. Out: tables, or one JSON object. Exit code 0 also for a model that is not
supported: saying so is the command's work.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
from rich.console import Console

from utvm.cli.command import EXIT_OK, print_json, reporting
from utvm.cli.json_form import inspect_json
from utvm.cli.model_options import model_argument, schedule_options, target_options
from utvm.cli.output import count, plain_table, progress, ratio, stdout_console
from utvm.cli.report import print_memory
from utvm.driver.inspect import Inspection, TensorLine, inspect_model
from utvm.driver.load import load_model
from utvm.driver.options import resolve_options, with_schedules
from utvm.ir.graph import Quantization


@click.command("inspect")
@model_argument
@target_options
@schedule_options
@reporting
def command(
    model: Path,
    params: Path | None,
    target: str | None,
    board: str | None,
    toolchain: str | None,
    objective: str,
    records: tuple[str, ...],
    portable_c: bool,
    as_json: bool,
) -> int:
    """Show what MODEL consists of, what of it is supported, and what time and memory it takes.

    Cycles are forecast, not measured; one line holds those of all operators fused into it.
    Flash and RAM are those of the program that `utvm run` runs with the same options.
    """
    options = resolve_options(target, board, toolchain=toolchain)
    options = with_schedules(options, objective, portable_c, records)
    with progress() as notify:
        notify(f"building for {options.target.name}")
        inspection = inspect_model(load_model(model, params), options)
    if as_json:
        print_json(inspect_json(inspection))
    else:
        _print(stdout_console(), inspection)
    return EXIT_OK


def _print(console: Console, inspection: Inspection) -> None:
    board = inspection.options.board
    where = f"{board.title} ({inspection.options.target.name})"
    console.print(f"{inspection.model.path}, for {where}", soft_wrap=True)
    console.print()
    _print_tensors(console, "input", inspection.inputs)
    _print_tensors(console, "output", inspection.outputs)
    console.print()
    _print_operators(console, inspection)
    console.print()
    if inspection.build is None:
        console.print(f"not supported: {inspection.problem}", style="bold red", soft_wrap=True)
        return
    macs = count(inspection.build.macs)
    removed = inspection.macs_removed
    without = f", {count(removed)} of the model's removed" if removed else ""
    console.print(f"{len(inspection.operators)} operators, all supported; {macs} MACs{without}")
    if inspection.predicted_cycles is not None:
        cycles, per_mac = inspection.predicted_cycles, inspection.build.macs
        console.print(
            f"about {count(cycles)} cycles and {count(inspection.predicted_instructions)} "
            f"instructions per run, {ratio(cycles, per_mac)} cycles per MAC: a forecast"
        )
    if inspection.memory is None:
        console.print("a native program: flash and RAM are those of this computer")
        return
    console.print()
    print_memory(console, inspection.memory, board, None)
    if not inspection.fits:
        console.print(f"does NOT fit {board.title}", style="bold red")


def _print_operators(console: Console, inspection: Inspection) -> None:
    """One line per operator; a dash for the cycles of what is part of another's kernel."""
    figures = ("MACs", "cycles") if inspection.kernels else ("MACs",)
    table = plain_table(
        "#", "operator", "inputs", "outputs", *figures, "support", right=("#", *figures)
    )
    for op in inspection.operators:
        support = "yes" if op.supported else f"no: {op.reason}"
        cells = [str(op.index), op.name, " ".join(op.inputs), " ".join(op.outputs), count(op.macs)]
        if inspection.kernels:
            cells.append(count(op.predicted_cycles))
        table.add_row(*cells, support, style="" if op.supported else "bold red")
    console.print(table)


def _print_tensors(console: Console, kind: str, tensors: Sequence[TensorLine]) -> None:
    for k, tensor in enumerate(tensors):
        text = f"{kind} {k}: {tensor.type} {tensor.name}{_quantization(tensor.quantization)}"
        console.print(text, soft_wrap=True)


def _quantization(quantization: Quantization | None) -> str:
    if quantization is None:
        return ""
    if quantization.axis is not None:
        return f", {len(quantization.scales)} scales along axis {quantization.axis}"
    zero = quantization.zero_point
    shifted = f"(x {'-' if zero > 0 else '+'} {abs(zero)})" if zero else "x"
    return f", real = {quantization.scale:.6g} * {shifted}"
