"""The command ``utvm``: a table of subcommands, each loaded when it is called.

In: the arguments of the command line. Out: the exit code. Exit codes: 0 done, 1 the user's mistake
or a mismatch, 2 wrong usage, 70 a defect of utvm, 130 interrupted. Subcommands are modules of this
folder with a click command named ``command``; a new one is one file and one line here.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

import click

from utvm.cli.command import EXIT_INTERRUPTED

# Name, module, and what `utvm --help` says; so that help and --version load none of them.
COMMANDS = {
    "run": ("run", "Compile a model, run it on a device, show outputs and cost."),
    "inspect": ("inspect", "Show operators, support, MACs, exact flash and RAM of a model."),
    "compile": ("compile", "Compile a model to a bundle of C sources (folder or .tar)."),
    "tune": ("tune", "Search faster schedules on devices, and record what was measured."),
    "schedule": ("schedule", "Show how kernels are scheduled, from loop nest to assembly."),
    "debug": ("debug", "Open gdb on a running model, stopped at an operator."),
    "rpc": ("rpc", "Serve a board over TCP, or connect to one that is served."),
    "targets": ("targets", "List the processors that utvm compiles for."),
    "boards": ("boards", "List the boards that utvm knows."),
    "doctor": ("doctor", "Check toolchains, emulator and cache."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"utvm.cli.{COMMANDS[cmd_name][0]}")
        found = module.command
        assert isinstance(found, click.Command)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


def installed_version() -> str:
    """The version of the installed package; a tree that is not installed has none."""
    try:
        return version("utvm")
    except PackageNotFoundError:
        return "(not installed)"


def _print_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        click.echo(f"utvm {installed_version()}")
        ctx.exit()


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_print_version,
    help="Show the version and exit.",
)
def utvm() -> None:
    """A tensor compiler for bare-metal microcontrollers.

    Takes a trained network, writes C99, builds it, and runs it on an emulated Cortex-M:

      utvm run model.tflite --target cortex-m7
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit code."""
    try:
        code = utvm.main(arguments, prog_name="utvm", standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("utvm: interrupted", err=True)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone; what is still buffered must not fail at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code if isinstance(code, int) else 0
