"""A schedule written by hand: a kernel, its constants, and the steps so far.

``Schedule`` has a method for each primitive and returns a new schedule from it; nothing is edited.
Printed, it is the list of its steps and the loop nest that they made. ``replay`` gives the nests
between the steps of any scheduled function, those of the default schedules included.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from utvm.ir.dtype import DType
from utvm.ir.loop import Function, Step
from utvm.ir.print_loop import print_function
from utvm.schedule.cache import cache_read, cache_write
from utvm.schedule.compute_at import compute_at
from utvm.schedule.fuse import fuse
from utvm.schedule.layout import layout_name, rearranged, transform_layout
from utvm.schedule.order import order_by_load
from utvm.schedule.outline import outline, outlined
from utvm.schedule.partition import hoist_condition, partition
from utvm.schedule.primitives import reorder, split, unroll, unroll_jam
from utvm.schedule.tensorize import tensorize
from utvm.schedule.vectorize import vectorize

Array = npt.NDArray[Any]

PRIMITIVES: Mapping[str, Callable[..., Function]] = {
    rewrite.__name__: rewrite
    for rewrite in (
        *(split, reorder, fuse, unroll, unroll_jam, vectorize, tensorize),
        *(compute_at, cache_read, cache_write, transform_layout),
        *(hoist_condition, partition, order_by_load, outline),
    )
}
"""Every primitive by its name: function and arguments to function."""


@dataclass(frozen=True)
class Schedule:
    """``constants`` holds the arrays that the function reads, by name; ``micros`` the micro
    functions that it invokes.
    """

    function: Function
    constants: Mapping[str, Array] = field(default_factory=dict)
    micros: tuple[Function, ...] = ()

    @property
    def steps(self) -> tuple[Step, ...]:
        return self.function.steps

    def __str__(self) -> str:
        nests = [print_function(f) for f in (self.function, *self.micros)]
        return "\n".join([*map(str, self.steps), "", *nests])

    def split(self, name: str, factor: int) -> Schedule:
        return self._with(split(self.function, name, factor))

    def reorder(self, outer: str, inner: str) -> Schedule:
        return self._with(reorder(self.function, outer, inner))

    def fuse(self, outer: str, inner: str) -> Schedule:
        return self._with(fuse(self.function, outer, inner))

    def unroll(self, name: str) -> Schedule:
        return self._with(unroll(self.function, name))

    def unroll_jam(self, name: str) -> Schedule:
        return self._with(unroll_jam(self.function, name))

    def vectorize(self, name: str) -> Schedule:
        return self._with(vectorize(self.function, name))

    def tensorize(self, name: str, instruction: str) -> Schedule:
        return self._with(tensorize(self.function, name, instruction))

    def compute_at(self, buffer: str, name: str) -> Schedule:
        return self._with(compute_at(self.function, buffer, name))

    def cache_read(self, buffer: str, name: str, dtype: DType | None = None) -> Schedule:
        return self._with(cache_read(self.function, buffer, name, dtype))

    def cache_write(self, buffer: str, name: str) -> Schedule:
        return self._with(cache_write(self.function, buffer, name))

    def hoist_condition(self, name: str) -> Schedule:
        return self._with(hoist_condition(self.function, name))

    def partition(self, name: str) -> Schedule:
        return self._with(partition(self.function, name))

    def order_by_load(self, buffer: str) -> Schedule:
        return self._with(order_by_load(self.function, buffer))

    def transform_layout(
        self, buffer: str, source: str, target: str, dtype: DType | None = None
    ) -> Schedule:
        changed = transform_layout(self.function, buffer, source, target, dtype)
        data = rearranged(self.constants[buffer], self.function, buffer, (source, target), dtype)
        others = {name: array for name, array in self.constants.items() if name != buffer}
        constants = {**others, layout_name(buffer, target): np.asarray(data)}
        return replace(self, function=changed, constants=constants)

    def outline(self, name: str, micro: str) -> Schedule:
        changed = outline(self.function, name, micro)
        made = outlined(self.function, name, micro)
        return replace(self, function=changed, micros=(*self.micros, made))

    def _with(self, function: Function) -> Schedule:
        return replace(self, function=function)


def replay(unscheduled: Function, steps: tuple[Step, ...]) -> Iterator[tuple[str, Function]]:
    """Each step as text, and the function behind it."""
    function = unscheduled
    for step in steps:
        function = PRIMITIVES[step.name](function, *step.arguments)
        yield str(step), function
