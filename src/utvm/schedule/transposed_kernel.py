"""A transposed convolution as line buffer and register blocks: the whole kernel.

In: an unscheduled kernel, the module's constants. Out: the kernel that, for each phase of rows,
fills the line buffer once and runs the micro functions of all phases of columns on it; or None
where the kernel is of another kind. Each pair of phases is a convolution with stride 1, so blocks,
streams and line buffer are those of convolutions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from utvm.ir.loop import Binary, Buffer, Function, If, Imm, Invoke, Pointer, Stmt, Var, loop
from utvm.ir.rewrite import simplify_body
from utvm.schedule.conv_kernel import ConvKernel, ConvSchedule, Part, Scheduled
from utvm.schedule.fill import fills_of
from utvm.schedule.line_buffer import buffer_of, expand_micro, fill_once, fill_row, has_expand
from utvm.schedule.transposed_sum import read_transposed
from utvm.schedule.weighted_sum import Array, WeightedSum
from utvm.schedule.window_layout import WindowLayout, window_layout

_Y = Var("y")


def schedule_transposed(
    function: Function, constants: Mapping[str, Array], schedule: ConvSchedule
) -> Scheduled | None:
    """The kernel in register blocks, or None."""
    phases = read_transposed(function, constants)
    if phases is None:
        return None
    sums = [w for group in phases.groups for w in group]
    if not (schedule.wide or all(w.narrow for w in sums)):
        return None
    unions = [_union(group) for group in phases.groups]
    layouts = _layouts(unions)
    maker = _Maker({**constants, **phases.constants}, schedule)
    turns = max(w.rows for w in sums)
    body: list[Stmt] = []
    for group, union, layout in zip(phases.groups, unions, layouts, strict=True):
        row = maker.row(group, union, layout)
        if row is None:
            return None
        short = union.rows < turns
        body += [If(Binary("<", _Y, Imm(union.rows)), row)] if short else row
    filled: list[Stmt] = []
    for name in dict.fromkeys(layout.name for layout in layouts):
        at = [layout.name for layout in layouts].index(name)
        filled += fill_once(unions[at], layouts[at])
    whole = loop(Var("n"), sums[0].image[0], *filled, loop(_Y, turns, *body))
    return maker.scheduled(sums[0], simplify_body((whole,)), layouts)


def _layouts(unions: list[WeightedSum]) -> list[WindowLayout]:
    """A line buffer for each phase of rows; those of one form share it."""
    names: dict[WindowLayout, str] = {}
    found: list[WindowLayout] = []
    for union in unions:
        layout = window_layout(union, union.columns)
        name = names.setdefault(layout, f"lines_{len(names)}" if names else layout.name)
        found.append(replace(layout, name=name))
    return found


def _union(group: tuple[WeightedSum, ...]) -> WeightedSum:
    """What all phases of columns see of a row, as one window over the most results."""
    first = min(-w.origin[1] for w in group)
    end = max(w.columns - 1 + w.window[1] - w.origin[1] for w in group)
    columns = max(w.columns for w in group)
    one = group[0]
    shape = (one.filters, one.window[0], end - first - columns + 1, one.depth)
    origin = one.origin[0], -first
    return replace(one, weights=np.zeros(shape, np.int8), columns=columns, origin=origin)


@dataclass
class _Maker:
    constants: Mapping[str, Array]
    schedule: ConvSchedule
    made: list[tuple[ConvKernel, list[Part]]] = field(default_factory=list)
    micros: dict[Function, Function] = field(default_factory=dict)

    def row(
        self, group: tuple[WeightedSum, ...], union: WeightedSum, layout: WindowLayout
    ) -> tuple[Stmt, ...] | None:
        """One phase of rows: the line buffer, then its phases of columns."""
        filled = fill_row(union, layout, Var("n"), _Y, Imm(0), union.columns)
        calls: list[Stmt] = []
        for w in group:
            own = replace(w.function, name=f"{w.function.name}_{len(self.made)}")
            kernel = ConvKernel(replace(w, function=own), self.constants, self.schedule)
            parts = kernel.blocks(layout, min(self.schedule.pixels, w.columns))
            if parts is None:
                return None
            parts = [replace(part, micro=self._named(part.micro)) for part in parts]
            self.made.append((kernel, parts))
            ahead = (union.origin[1] - w.origin[1]) * layout.column
            for part in parts:
                for call in kernel.calls(part, layout, Imm(0), w.columns):
                    calls.append(_moved(call, ahead))
        return (*filled, *calls)

    def _named(self, micro: Function) -> Function:
        """The micro function with a name of its own, or the equal one that another phase has."""
        key = replace(micro, name="")
        if key not in self.micros:
            taken = {other.name for other in self.micros.values()}
            fresh, count = micro.name, 1
            while fresh in taken:
                count += 1
                fresh = f"{micro.name}_{count}"
            self.micros[key] = replace(micro, name=fresh)
        return self.micros[key]

    def scheduled(
        self, w: WeightedSum, body: tuple[Stmt, ...], layouts: list[WindowLayout]
    ) -> Scheduled:
        """The kernel with the constants and micro functions of all phases."""
        micros = list(self.micros.values())
        expands = [expand_micro(w, one) for one in layouts if has_expand(w, one)]
        constants: dict[str, Array] = {}
        declared: dict[str, Buffer] = {}
        function = w.function
        for kernel, parts in self.made:
            one = kernel.scheduled(body, layouts[0], parts, ())
            constants |= one.constants or {}
            declared |= {buffer.name: buffer for buffer in one.function.constants}
            function = replace(one.function, name=w.function.name)
        return Scheduled(
            replace(
                function,
                constants=tuple(declared.values()),
                workspace=tuple(dict.fromkeys(map(buffer_of, layouts))),
            ),
            (*micros, *dict.fromkeys(expands), *fills_of(body)),
            constants,
        )


def _moved(call: Invoke, ahead: int) -> Invoke:
    """A call whose first window begins further on in the line buffer."""
    window, *others = call.pointers
    return replace(call, pointers=(Pointer(window.buffer, window.offset + ahead), *others))
