"""``utvm targets``: the processors that utvm compiles for.

In: nothing. Out: a table, or one JSON object with the list.
Everything comes from the target files.
"""

from __future__ import annotations

import click

from utvm.cli.command import EXIT_OK, print_json, reporting
from utvm.cli.output import plain_table, stdout_console
from utvm.target.target import list_targets, load_target


@click.command("targets")
@reporting
def command(as_json: bool) -> int:
    """List the processors that utvm compiles for."""
    targets = [load_target(name) for name in list_targets()]
    if as_json:
        listed = [
            {
                "name": target.name,
                "title": target.title,
                "arch": target.arch,
                "features": sorted(target.features),
                "cycle_model": target.cycle_model or None,
                "default_board": target.default_board,
            }
            for target in targets
        ]
        print_json({"targets": listed})
        return EXIT_OK
    table = plain_table("target", "what", "features", "cycles", "board")
    for target in targets:
        features = " ".join(sorted(target.features)) or "-"
        model = target.cycle_model or "not modelled"
        table.add_row(target.name, target.title, features, model, target.default_board)
    stdout_console().print(table)
    return EXIT_OK
