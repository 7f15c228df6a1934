"""Reads convolutions whose windows have holes: dilated columns, or groups of channels.

In: an unscheduled function of ``conv2d``. Out: weighted sums that together make its results, or
None where it is of another kind. A group of filters is a convolution on some of the channels; of a
window dilated by d, every d-th column of results reads every d-th column of the image, so there
are d sums of windows without holes. Constants by filter are cut, too; those of the
parts come with them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from utvm.ir.dtype import DType
from utvm.ir.loop import Buffer, Expr, Function, Imm, Load, Stmt, Var
from utvm.ir.rewrite import Linear, map_body, simplify_body, substitute
from utvm.schedule.combine import at_phase
from utvm.schedule.weighted_sum import (
    PIXELS,
    Array,
    WeightedSum,
    flat_form,
    known_bias,
    less_zero_point,
    offset_product_of,
    read_summation,
)

MOST_PARTS = 32
"""Of more, calls and code would be too many."""
FEWEST_TAPS = 8
"""Of a group with a single filter: of fewer, calls would take longer than loops."""
_LOOPS = {"n", "y", "x", "g", "c", "ky", "kx", "r", "i"}


@dataclass(frozen=True, eq=False)
class SplitSum:
    """The parts, and the constants that they read beside those of the kernel."""

    parts: tuple[WeightedSum, ...]
    constants: Mapping[str, Array]


def read_split_sum(function: Function, constants: Mapping[str, Array]) -> SplitSum | None:
    """The parts of a kernel, or None."""
    if function.op != "conv2d":
        return None
    read = read_summation(function)
    product = None if read is None else offset_product_of(read.update, read.acc)
    if read is None or product is None:
        return None
    if set(read.loops) - _LOOPS or not {"g", "kx"} & set(read.loops):
        return None
    pixel, weight, zero = product
    data = less_zero_point(constants.get(weight.buffer.name), zero)
    padding = read.padding(pixel)
    if data is None or padding is None or pixel.buffer.dtype not in PIXELS:
        return None
    whole = _whole(function, read.loops, pixel, weight, data, padding)
    if whole is None:
        return None
    whole = replace(whole, bias=read.bias, acc=read.acc, epilogue=read.epilogue)
    return _Splitter(whole, read.outer.get("g", 1), constants).split()


def _whole(
    function: Function,
    loops: Mapping[str, int],
    pixel: Load,
    weight: Load,
    data: Array,
    padding: tuple[str, tuple[int, int], int],
) -> WeightedSum | None:
    """All groups as one sum: image and pitch are the whole image's, ``weights`` those of all
    filters."""
    name, (above, left), value = padding
    source = next(b for b in function.inputs if b.name == name)
    n, height, width, channels = source.shape
    groups, share = loops.get("g", 1), loops.get("c", 1)
    kh, kw, depth = loops.get("ky", 1), loops.get("kx", 1), channels // groups
    line, form = pixel.buffer.shape[-1], flat_form(pixel.buffer, pixel.indices)
    # Rows that are padded are never one row of all pixels, however long they are.
    merged = pixel.buffer.name == name and line == n * height * width * channels and n * height > 1
    if form is None or left % channels or groups * depth != channels:
        return None
    row, row_dilation = form.coefficient("y") // line, form.coefficient("ky") // line
    column, dilation = form.coefficient("x") // channels, form.coefficient("kx") // channels
    image = pixel.buffer.elements // pixel.buffer.shape[0]
    per_filter = kh * kw * depth
    pixels = {"n": image, "y": row * line, "x": column * channels, "g": depth}
    pixels |= {"ky": row_dilation * line, "kx": dilation * channels, "i": 1, "r": 1}
    order = {"g": share * per_filter, "c": per_filter, "ky": kw * depth, "kx": depth}
    order |= {"i": 1, "r": 1}
    for load, wanted in ((pixel, pixels), (weight, order)):
        terms = tuple(sorted((k, c) for k, c in wanted.items() if k in loops and c))
        if flat_form(load.buffer, load.indices) != Linear(0, terms):
            return None
    if data.size != groups * share * per_filter or loops.get("i", loops.get("r", 1)) != depth:
        return None
    if kw > 1 and dilation > 1 and column > 1:
        return None
    n, height, width = (1, 1, n * height * width) if merged else (n, height, width)
    return WeightedSum(
        function,
        source,
        (n, height, width, depth),
        data.reshape(groups * share, kh, kw, depth),
        rows=loops.get("y", 1),
        columns=loops.get("x", 1),
        strides=(row or 1, column or 1),
        row_dilation=row_dilation or 1,
        origin=(above, left // channels),
        padding=value,
        bias=Imm(0),
        acc=Buffer("acc", DType.INT32, (), "register"),
        epilogue=(),
        variables={name: name for name in ("n", "y", "x", "c")},
        column_step=dilation or 1,
        pitch=channels,
    )


@dataclass
class _Splitter:
    whole: WeightedSum
    groups: int
    constants: Mapping[str, Array]
    cut: dict[str, Array] = field(default_factory=dict)

    @property
    def share(self) -> int:
        """Filters of a group."""
        return self.whole.filters // self.groups

    def split(self) -> SplitSum | None:
        w = self.whole
        dilated = w.window[1] > 1 and w.column_step > 1
        phases = min(w.column_step, w.columns) if dilated else 1
        biases = known_bias(w.bias, w.filters, self.constants)
        few = self.groups > 1 and self.share == 1 and w.weights[0].size < FEWEST_TAPS
        if biases is None or few or self.groups * phases > MOST_PARTS:
            return None
        parts: list[WeightedSum] = []
        for g in range(self.groups):
            group = self._group(g, biases)
            parts += (
                [_phase(group, p, w.column_step) for p in range(phases)]
                if dilated
                else [replace(group, column_step=1)]
            )
        return SplitSum(tuple(parts), self.cut)

    def _group(self, g: int, biases: Array) -> WeightedSum:
        """The filters of one group on its channels."""
        w, share = self.whole, self.share
        own = slice(g * share, (g + 1) * share)
        bias: Expr = w.bias
        if not isinstance(bias, Imm):
            bias = self._constant(f"{w.function.name}_bias_{g}", biases[own])
        if self.groups == 1:
            return replace(w, bias=bias)
        return replace(
            w,
            weights=w.weights[own],
            bias=bias,
            epilogue=self._epilogue(g),
            first_channel=g * w.depth,
        )

    def _epilogue(self, g: int) -> tuple[Stmt, ...]:
        """Constants by filter are those of the group, results its part of all."""
        share, filters = self.share, self.whole.filters
        wanted = Linear(0, (("c", 1), ("g", share)))

        def change(expr: Expr) -> Expr:
            match expr:
                case Load(buffer, indices, 1) if (
                    buffer.name in self.constants
                    and buffer.dtype is DType.INT32
                    and buffer.elements == filters
                    and flat_form(buffer, indices) == wanted
                ):
                    data = self.constants[buffer.name].reshape(-1)
                    own = data[g * share : (g + 1) * share]
                    return self._constant(f"{buffer.name}_{g}", own)
            return expr

        body = map_body(self.whole.epilogue, change)
        return simplify_body(substitute(body, {"g": Imm(g)}))

    def _constant(self, name: str, data: Array) -> Load:
        """The element of a filter of constants that belong to a group."""
        self.cut[name] = np.ascontiguousarray(data)
        buffer = Buffer(name, DType(data.dtype.name), (data.size,), "const")
        return Load(buffer, (Var("c"),))


def _phase(w: WeightedSum, phase: int, phases: int) -> WeightedSum:
    """Every ``phases``-th column of results, from ``phase`` on."""
    return replace(
        w,
        columns=-(-(w.columns - phase) // phases),
        origin=(w.origin[0], w.origin[1] - phase),
        epilogue=at_phase(w.epilogue, phase, phases),
    )
