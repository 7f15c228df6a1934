"""What ``utvm run`` does: load, check the tensors, build, keep, run, compare, write.

In: a ``RunRequest`` with options that are looked up already. Out: a ``RunReport``. What the user
got wrong is refused before the work it would spoil: destinations and tensors before compiling.
Files and folders that are asked for appear whole; the kept folder appears before the program runs,
so that a program that faults can be looked at.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from utvm.driver.build import Build, build_graph, input_values, output_values
from utvm.driver.load import import_model, load_model
from utvm.driver.options import BuildOptions
from utvm.driver.pipeline import Observer
from utvm.driver.run import Run, run_build
from utvm.driver.tensors import (
    Comparison,
    Rows,
    compare,
    random_inputs,
    read_expected,
    read_inputs,
    write_outputs,
)
from utvm.ir.graph import Graph
from utvm.support.errors import InputError
from utvm.support.files import check_replaceable, replace_folder

KEPT_OUTPUTS = "outputs.npz"

Notify = Callable[[str], None]
"""Told in a few words what is being done, for a progress display."""


@dataclass(frozen=True)
class RunRequest:
    """What to run, with what, and what to leave behind."""

    model: Path
    options: BuildOptions
    params: Path | None = None
    inputs: Path | None = None
    expected: Path | None = None
    output: Path | None = None
    keep: Path | None = None


@dataclass(frozen=True, eq=False)
class RunReport:
    """A finished run. ``written`` is the file with the outputs, ``comparison`` what they equal."""

    build: Build
    run: Run
    comparison: Comparison | None
    written: Path | None
    random: bool


def execute(
    request: RunRequest,
    observe: Observer = lambda stage, ir: None,
    notify: Notify = lambda text: None,
) -> RunReport:
    """Runs a model as asked."""
    if request.expected is not None and request.inputs is None:
        raise InputError("--expect needs --input", hint="one file may serve as both")
    if request.keep is not None:
        check_replaceable(request.keep)
    notify("reading the model")
    start = time.perf_counter()
    graph = import_model(model := load_model(request.model, request.params))
    import_seconds = time.perf_counter() - start
    inputs, expected = _tensors(request, graph)
    with tempfile.TemporaryDirectory(prefix="utvm-") as scratch:
        folder = Path(scratch)
        notify(f"compiling for {request.options.target.name}")
        build = build_graph(model, graph, request.options, folder, observe, import_seconds)
        if request.keep is not None:
            replace_folder(request.keep, lambda kept: _copy_files(folder, kept))
        notify(f"running on {request.options.board.name}")
        run = run_build(build, inputs, notify)
    written = request.output or (request.keep / KEPT_OUTPUTS if request.keep else None)
    if written is not None:
        write_outputs(written, run.outputs)
    comparison = None if expected is None else compare(run.outputs, expected)
    return RunReport(build, run, comparison, written, request.inputs is None)


def _tensors(request: RunRequest, graph: Graph) -> tuple[Rows, Rows | None]:
    """The inputs, and the expected outputs if they are to be compared."""
    if request.inputs is None:
        return random_inputs(input_values(graph)), None
    inputs = read_inputs(request.inputs, input_values(graph))
    if request.expected is None:
        return inputs, None
    return inputs, read_expected(request.expected, output_values(graph), len(inputs[0]))


def _copy_files(source: Path, destination: Path) -> None:
    for path in sorted(source.iterdir()):
        if path.is_file():
            shutil.copy(path, destination)
