"""``utvm doctor``: whether toolchains, emulator and cache are there and work.

In: nothing. Out: a table, or one JSON object; exit code 1 if something that utvm needs is broken.
What is merely useful (another compiler, QEMU) may be missing.
"""

from __future__ import annotations

from dataclasses import asdict

import click

from utvm.cli.command import EXIT_MISTAKE, EXIT_OK, print_json, reporting
from utvm.cli.output import plain_table, progress, stdout_console
from utvm.driver.doctor import Check, check_all


@click.command("doctor")
@reporting
def command(as_json: bool) -> int:
    """Check toolchains, emulator and cache."""
    with progress() as notify:
        notify("checking; the first time builds the emulator's hooks")
        checks = check_all()
    healthy = all(check.ok for check in checks if check.needed)
    if as_json:
        print_json({"ok": healthy, "checks": [asdict(check) for check in checks]})
    else:
        _print(checks, healthy)
    return EXIT_OK if healthy else EXIT_MISTAKE


def _print(checks: list[Check], healthy: bool) -> None:
    console = stdout_console()
    table = plain_table("", "check", "found", "hint")
    for check in checks:
        mark, style = _mark(check)
        table.add_row(mark, check.name, check.detail, "" if check.ok else check.hint, style=style)
    console.print(table)
    console.print()
    if healthy:
        console.print("everything that utvm needs works", style="green")
    else:
        console.print("something that utvm needs does not work", style="bold red")


def _mark(check: Check) -> tuple[str, str]:
    """The word and the style of a line."""
    if check.ok:
        return "ok", ""
    return ("BROKEN", "bold red") if check.needed else ("missing", "yellow")
