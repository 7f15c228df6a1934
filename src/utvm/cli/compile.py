"""``utvm compile``: writes the bundle of a model, a folder or .tar file for any C compiler.

In: a model, a target, a destination. Out: the bundle (SPEC.md), whole or not at all.
No toolchain is needed.
"""

from __future__ import annotations

from pathlib import Path

import click

from utvm.artifact.bundle import check_destination, write_bundle
from utvm.cli.command import EXIT_OK, print_json, reporting
from utvm.cli.model_options import executor_option, model_argument, schedule_options
from utvm.cli.output import progress, size, stdout_console
from utvm.driver.export import export_model
from utvm.driver.load import load_model
from utvm.driver.options import DEFAULT_TARGET, check_executor, find_records, resolve_board


@click.command("compile")
@model_argument
@click.option("--target", metavar="T", help=f"Processor; default {DEFAULT_TARGET}.")
@click.option("--board", metavar="B", help="Board, or the folder of one.")
@executor_option
@schedule_options
@click.option("-o", "--output", "out", type=Path, required=True, metavar="OUT[.tar]")
@click.option("--name", default="", help="What C names are made of; default: the file's name.")
@reporting
def command(
    model: Path,
    params: Path | None,
    target: str | None,
    board: str | None,
    executor: str,
    objective: str,
    records: tuple[str, ...],
    portable_c: bool,
    out: Path,
    name: str,
    as_json: bool,
) -> int:
    """Compile MODEL to a bundle: C sources, runtime, Makefile, metadata.

    OUT is a folder, or a tar file if it is called OUT.tar. SPEC.md describes what is in it.
    """
    check_executor(executor)
    found_target, found_board = resolve_board(target, board)
    found_records = find_records(records, found_target)
    check_destination(out)
    with progress() as notify:
        notify(f"compiling for {found_target.name}")
        loaded = load_model(model, params, name)
        bundle = export_model(
            loaded,
            found_target,
            found_board,
            executor,
            objective=objective,
            portable_c=portable_c,
            records=found_records,
        )
        write_bundle(bundle, out)
    total = sum(len(data) for data in bundle.files.values())
    if as_json:
        facts = {"target": found_target.name, "board": found_board.name, "executor": executor}
        print_json({"model": str(model), "bundle": str(out), "name": loaded.name, **facts})
    else:
        stdout_console().print(
            f"{out}: {len(bundle.files) + 1} files, {size(total)}, for {found_board.title}",
            soft_wrap=True,
        )
    return EXIT_OK
