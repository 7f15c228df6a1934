"""``--print-after STAGE``: shows the IR as one stage of the compiler leaves it.

In: the name of a stage, and the stages as the compiler goes through them. Out: the text form of
that one on standard error, so that standard output stays what it is.
"""

from __future__ import annotations

import click

from utvm.driver.pipeline import Observer
from utvm.driver.stages import check_stage
from utvm.ir.graph import Graph
from utvm.ir.loop import Module
from utvm.ir.print_graph import print_graph
from utvm.ir.print_loop import print_module


def stage_printer(wanted: str | None) -> Observer:
    """An observer of the compiler; None prints nothing."""
    if wanted is not None:
        check_stage(wanted)

    def observe(stage: str, ir: Graph | Module) -> None:
        if stage == wanted:
            click.echo(print_graph(ir) if isinstance(ir, Graph) else print_module(ir), err=True)

    return observe
