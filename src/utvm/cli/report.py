"""The report of ``utvm run`` for people: outputs, operators, totals, memory, what matched.

In: a finished run and a console. Out: text on the console. Nothing is decided here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby

import numpy as np
from rich.console import Console
from rich.text import Text

from utvm.cli.output import WIDE, bar, count, plain_table, ratio, size
from utvm.device.memory_program import SectionMap
from utvm.driver.connect import Device
from utvm.driver.execute import RunReport
from utvm.driver.memory import Memory
from utvm.driver.options import BuildOptions
from utvm.driver.run import OperatorCost, Run
from utvm.driver.tensors import ABSOLUTE_TOLERANCE, RELATIVE_TOLERANCE, Comparison
from utvm.driver.transports import ALONE
from utvm.ir.graph import Value
from utvm.target.board import Board

Cost = tuple[int | None, int | None, int]
"""Cycles, instructions, MACs."""

SHOWN_ROWS = 5
SHOWN_ELEMENTS = 10
SHOWN_OPERATORS = 12


def print_run(console: Console, report: RunReport, *, every_operator: bool) -> None:
    """The whole report."""
    run, build = report.run, report.build
    options = build.options
    console.print(
        f"{build.model.path} on {options.board.title} ({options.target.name}), {_way(options)}"
        f"{options.toolchain.version()}; compiled in {build.compile_seconds:.1f} s",
        soft_wrap=True,
    )
    if report.random:
        console.print("inputs: random numbers, the same every time (--input gives your own)")
    console.print()
    print_outputs(console, build.outputs, run)
    console.print()
    print_operators(console, run, build.macs, every_operator=every_operator)
    console.print()
    if build.memory is not None:
        print_memory(console, build.memory, options.board, run.stack_bytes)
        console.print()
    if report.comparison is not None:
        print_comparison(console, report.comparison, run.rows)
    if report.written is not None:
        console.print(f"outputs written to {report.written}", soft_wrap=True)


def print_device(console: Console, device: Device) -> None:
    """What answers at a server."""
    welcome, statistics = device.welcome, device.statistics
    rate = welcome.cycles_per_second
    counter = f"counter of {rate:,} Hz" if rate else "a counter of unknown speed, or none"
    console.print(
        f"{device.server}: RPC version {welcome.version}, {counter}, "
        f"payloads of {count(welcome.payload_bytes)} bytes",
        soft_wrap=True,
    )
    if device.fault is not None:
        console.print(f"it has restarted after a fault: {device.fault.text}", soft_wrap=True)
    table = plain_table("what", "now", right=("now",))
    for name, value in asdict(statistics).items():
        table.add_row(name.replace("_", " "), count(value))
    console.print(table)
    console.print()
    functions = plain_table("function", "calls", "cycles", right=("function", "calls", "cycles"))
    for index, function in enumerate(device.functions):
        functions.add_row(str(index), count(function.calls), count(function.cycles))
    console.print(functions)


def _way(options: BuildOptions) -> str:
    """How the device was reached, where that is not the ordinary way."""
    return "" if options.transport == ALONE else f"{options.executor} over {options.transport}, "


def print_outputs(console: Console, values: Sequence[Value], run: Run) -> None:
    """The first elements of the first rows of every output."""
    rows = "1 row" if run.rows == 1 else f"{run.rows} rows"
    table = plain_table("output", "type", "row", "values", "largest", right=("row",))
    for k, (value, array) in enumerate(zip(values, run.outputs, strict=True)):
        for row in range(min(run.rows, SHOWN_ROWS)):
            flat = array[row].reshape(-1)
            name, type_text = (f"out{k}", str(value.type)) if row == 0 else ("", "")
            table.add_row(name, type_text, str(row), _elements(flat), _largest(flat, value))
    console.print(table)
    if run.rows > SHOWN_ROWS:
        console.print(f"... {rows} in all; --output writes them to a file")


def _elements(flat: np.ndarray) -> str:
    shown = " ".join(
        f"{x:.5g}" if flat.dtype.kind == "f" else str(x) for x in flat[:SHOWN_ELEMENTS]
    )
    return f"{shown} ..." if flat.size > SHOWN_ELEMENTS else shown


def _largest(flat: np.ndarray, value: Value) -> str:
    """Where the largest element is, and its real value: the prediction of a classifier."""
    if flat.size < 2 or np.isnan(flat).any():
        return ""
    at = int(flat.argmax())
    number = float(flat[at])
    if value.quantization is not None:
        number = (number - value.quantization.zero_point) * value.quantization.scale
    return f"[{at}] = {number:.4g}"


def print_operators(console: Console, run: Run, macs: int, *, every_operator: bool) -> None:
    """Cost per operator and in all; unless asked for all, the costly ones in execution order."""
    total = run.cycles
    shown = list(run.operators)
    if not every_operator and len(shown) > SHOWN_OPERATORS:
        costly = sorted(shown, key=_weight, reverse=True)[:SHOWN_OPERATORS]
        shown = [operator for operator in shown if operator in costly]
    wide = console.width >= WIDE
    names = ("operator", "from") if wide else ("operator",)
    figures = ("cycles", "instructions", "MACs", "cycles/MAC")
    table = plain_table(*names, *figures, "share", right=figures, gap=2 if wide else 1)

    def add(name: str, source: str, cost: Cost, share: bool, style: str = "") -> None:
        cells = [name, source] if wide else [name]
        part: Text | str = ""
        if share and total and cost[0] is not None:
            part = bar(cost[0] / total, console)
        table.add_row(*cells, *_figures(*cost), part, style=style)

    for op in shown:
        add(op.name, op.source, (op.cycles, op.instructions, op.macs), True)
    rest = [operator for operator in run.operators if operator not in shown]
    if rest:
        add(f"{len(rest)} others", "--profile shows them", _sum(rest), True)
    add("total", "", (run.cycles, run.instructions, macs), False, "bold")
    console.print(table)
    if run.rows > 1 and total:
        console.print(f"per invocation: the median of {run.rows}")


def _weight(operator: OperatorCost) -> int:
    return operator.macs if operator.cycles is None else operator.cycles


def _sum(operators: Sequence[OperatorCost]) -> Cost:
    macs = sum(operator.macs for operator in operators)
    if any(operator.cycles is None for operator in operators):
        return None, None, macs
    cycles = sum(operator.cycles or 0 for operator in operators)
    counted = all(operator.instructions is not None for operator in operators)
    instructions = sum(operator.instructions or 0 for operator in operators)
    return cycles, instructions if counted else None, macs


def _figures(cycles: int | None, instructions: int | None, macs: int) -> tuple[str, ...]:
    return count(cycles), count(instructions), count(macs), ratio(cycles, macs)


def print_memory(console: Console, memory: Memory, board: Board, stack_bytes: int | None) -> None:
    """Flash and RAM beside what the board has."""
    flash, ram = memory.flash, memory.ram
    table = plain_table("memory", "used", "of", "what", right=("used", "of"))
    table.add_row(
        "flash",
        size(flash.total),
        size(board.memory("flash").size_bytes),
        f"code {count(flash.code)} + constants {count(flash.constants)}",
    )
    table.add_row(
        "RAM",
        size(ram.total),
        size(board.memory("ram").size_bytes),
        f"arena {count(ram.arena)} + inputs, outputs {count(ram.io)} + other {count(ram.static)}",
    )
    if stack_bytes is not None:
        table.add_row("stack", size(stack_bytes), size(board.stack_bytes), "deepest use, measured")
    console.print(table)


def print_memory_map(console: Console, placed: SectionMap) -> None:
    """Sections by address, each with its functions; then what is free."""
    table = plain_table("address", "bytes", "memory", "what", right=("bytes",))
    console.print()
    for section in placed.sections:
        row = (f"{section.address:#010x}", count(section.size_bytes), section.memory)
        table.add_row(*row, section.name, style="bold")
        inside = [f for f in placed.functions if f.section == section.name]
        for address, same in groupby(inside, key=lambda function: function.address):
            first, *others = same
            names = ", ".join([first.name, *(other.name for other in others)])
            table.add_row(f"{address:#010x}", count(first.size_bytes), "", f"  {names}")
    for gap in placed.free:
        table.add_row(f"{gap.address:#010x}", count(gap.size_bytes), gap.memory, "free")
    console.print(table)


def print_comparison(console: Console, comparison: Comparison, rows: int) -> None:
    """Whether the outputs are what was expected."""
    of_rows = f"{count(comparison.total)} values in {rows} row{'s' if rows > 1 else ''}"
    if comparison.matches:
        exact = comparison.max_abs_diff == 0
        how = "bit for bit" if exact else f"largest difference {comparison.max_abs_diff:.3g}"
        console.print(f"matches the expected outputs: {of_rows}, {how}", style="green")
        return
    largest = comparison.max_abs_diff
    console.print(
        f"DIFFERS from the expected outputs: {count(comparison.differing)} of {of_rows}; "
        f"largest difference {'not finite' if largest is None else f'{largest:.6g}'}; "
        f"first: {comparison.first}",
        style="bold red",
        soft_wrap=True,
    )
    if isinstance(largest, float):
        console.print(
            f"allowed: {RELATIVE_TOLERANCE:g} of the value, {ABSOLUTE_TOLERANCE:g} near zero"
        )
