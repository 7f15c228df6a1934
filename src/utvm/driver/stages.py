"""The names of the compiler's stages, for ``--print-after``.

In: nothing. Out: the names in order. The pipeline is the only list of them, so they are learnt by
compiling a network of one operator, which takes milliseconds.
"""

from __future__ import annotations

from utvm.driver.pipeline import compile_graph
from utvm.ir.dtype import DType
from utvm.ir.graph import Graph, TensorType
from utvm.ir.loop import Module
from utvm.op.builder import GraphBuilder
from utvm.op.registry import find_op
from utvm.support.errors import InputError
from utvm.support.text import printable
from utvm.target.target import load_target


def stage_names() -> tuple[str, ...]:
    """All stages, in the order in which the compiler goes through them."""
    names: list[str] = []

    def observe(stage: str, ir: Graph | Module) -> None:
        names.append(stage)

    compile_graph(one_operator_graph(), load_target("host"), observe)
    return tuple(dict.fromkeys(names))


def one_operator_graph() -> Graph:
    """The smallest network there is: it copies one int8."""
    builder = GraphBuilder("copy", find_op)
    builder.output(builder.emit("copy", [builder.input("x", TensorType((1,), DType.INT8))]))
    return builder.build()


def check_stage(name: str) -> None:
    """Refuses a name that is no stage."""
    if name not in (known := stage_names()):
        raise InputError(
            f"unknown stage '{printable(name)}'", expected=f"one of {', '.join(known)}"
        )
