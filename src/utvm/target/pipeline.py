"""A core's pipeline as numbers, for instruction scheduling.

In: the table ``[pipeline]`` of a target file. Out: a frozen ``Pipeline``. These are the few figures
that decide in which order instructions should stand; what a program costs is measured by running
it. Latencies count from issue until an ordinary ALU operation may use the result.
"""

from __future__ import annotations

from dataclasses import dataclass

from utvm.target.fields import Fields


@dataclass(frozen=True)
class Pipeline:
    """``width`` 1: loads cost ``load_cycles``, one that follows a load ``next_load_cycles``, and
    an address computed just before ``address_cycles`` more. ``width`` 2: two instructions a cycle,
    in order, with the latencies below.
    """

    width: int
    load_cycles: int = 1
    next_load_cycles: int = 1
    address_cycles: int = 0
    branch_cycles: int = 1  # a taken branch
    store_cycles: int = 1
    load_latency: int = 1
    multiplicand_load_latency: int = 1  # of a load that feeds a multiplier or a shifter
    narrow_load_latency: int = 1
    multiply_latency: int = 1
    saturate_latency: int = 1


def read_pipeline(table: Fields) -> Pipeline:
    """The pipeline that a table describes."""
    names = [name for name in Pipeline.__dataclass_fields__ if name != "width"]
    width = table.integer("width")
    if width not in (1, 2):
        raise table.error("field 'width' is wrong", expected="1 or 2", found=str(width))
    defaults = Pipeline(width)
    pipeline = Pipeline(width, **{n: table.integer(n, getattr(defaults, n)) for n in names})
    table.finish()
    return pipeline
