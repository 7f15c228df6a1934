"""Input text to output text: how the tests of the passes are written.

A graph pass is given the text of a graph, a loop pass that of a function; what comes out is
verified and printed. ``lines`` leaves out what a test does not look at.
"""

from __future__ import annotations

from collections.abc import Callable

from utvm.ir.graph import Graph
from utvm.ir.loop import Function
from utvm.ir.parse_graph import parse_graph
from utvm.ir.parse_loop import parse_function
from utvm.ir.print_graph import print_graph
from utvm.ir.print_loop import print_function
from utvm.ir.verify_graph import verify_graph
from utvm.ir.verify_loop import verify_function
from utvm.op.registry import find_op


def graph_after(text: str, graph_pass: Callable[[Graph], Graph]) -> str:
    """The text of a graph after a pass, verified."""
    graph = graph_pass(parse_graph(text, find_op))
    verify_graph(graph, find_op, after="the pass")
    return print_graph(graph)


def function_after(text: str, loop_pass: Callable[[Function], Function]) -> str:
    """The text of a function after a pass, verified."""
    before = parse_function(text)
    verify_function(before)
    function = loop_pass(before)
    verify_function(function, after="the pass")
    return print_function(function)


def lines(text: str, *beginnings: str) -> list[str]:
    """The lines that begin so, without indentation."""
    return [line.strip() for line in text.splitlines() if line.strip().startswith(beginnings)]
