"""Which channels of each value a plain graph needs; the analysis behind fold-channels.

In: a graph after ``legalize``. Out: a mask over the last axis for every value that may lose
channels. Channels that must go together (operators label them: ``Op.channels``) are one class. A
class is needed if a graph's input or output, a float or an operator without labels holds one of its
channels, or if a weighted sum reads one: a sum does without a channel whose weights are all
zero, and without one that always holds the same number where no padding shows the difference.
Filters that are not needed need no inputs, so this is repeated until nothing changes.

Kernels work on blocks of channels: what is needed is filled up to a multiple with other channels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from utvm.ir.graph import Graph, Node, Value, is_quantized
from utvm.op.base import Op
from utvm.op.channels import Channels, elementwise_channels
from utvm.op.fixed_point import Int64Array, int64_of
from utvm.op.ranges import MOST_CHANNELS, Interval, whole_number_fits

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Sum:
    """A weighted sum: places of its input and result channels, which weights [filters, inputs]
    count, and which inputs could go into the bias.
    """

    inputs: Int64Array
    results: Int64Array
    nonzero: Mask
    foldable: Mask


@dataclass(eq=False)
class _Places:
    """Every channel of every value has a place; ``first`` is that of a value's channel 0."""

    first: dict[str, int] = field(default_factory=dict)
    count: int = 0

    def add(self, value: Value) -> None:
        self.first[value.name] = self.count
        self.count += value.shape[-1]

    def of(self, value: Value) -> Int64Array:
        first = self.first[value.name]
        return np.arange(first, first + value.shape[-1])


def live_channels(
    graph: Graph, find_op: Callable[[str], Op], ranges: Mapping[str, Interval], multiple: int
) -> dict[str, Mask]:
    """The needed channels of every value that has channels to spare."""
    places = _Places()
    for value in graph.values.values():
        if value.name not in graph.constants and _has_channels(value):
            places.add(value)
    classes, pinned, sums = _relations(graph, find_op, ranges, places)
    constant = np.zeros(places.count, bool)
    for name, first in places.first.items():
        count = graph.values[name].shape[-1]
        constant[first : first + count] = is_constant(ranges[name])
    while True:
        live = _needed(classes, pinned, sums)
        spans = [places.of(graph.values[name]) for name in places.first]
        added = _filled_up(classes, live, constant, spans, multiple)
        if not added:
            break
        pinned[added] = True
    masks = {name: live[classes][places.of(graph.values[name])] for name in places.first}
    return {name: mask for name, mask in masks.items() if not mask.all()}


def channels_of(graph: Graph, node: Node, op: Op) -> Channels | None:
    """How a node's channels belong together; None where all stay."""
    values = (*graph.inputs_of(node), *graph.outputs_of(node))
    moving = [value for value in values if value.name not in graph.constants]
    if len(node.outputs) != 1 or is_quantized(graph, node) or not all(map(_has_channels, moving)):
        return None
    types, result = [value.type for value in graph.inputs_of(node)], values[-1].type
    if op.channels is None:
        return elementwise_channels(types, result, op.tables) if op.elementwise else None
    found = op.channels(types, result, node.attrs)
    if found is None:
        return None
    for i, labels in enumerate(found.operands):
        known = node.inputs[i] in graph.constants
        if found.weighted and i and not known:
            return None
        if known and labels is not None and not np.isin(found.result, labels).all():
            return None
    return found


def is_constant(interval: Interval) -> Mask:
    """In which channels a value always holds the same number."""
    return np.asarray(interval.low == interval.high)


def centered_weights(graph: Graph, node: Node) -> Int64Array:
    """The weights less their zero point: filters, taps, inputs."""
    data = int64_of(graph.constants[node.inputs[1]]) - getattr(node.attrs, "weight_zero_point", 0)
    return data.reshape(data.shape[0], -1, data.shape[-1])


def _has_channels(value: Value) -> bool:
    shape = value.shape
    return bool(shape) and shape[-1] <= MOST_CHANNELS and not value.dtype.is_float


def _relations(
    graph: Graph, find_op: Callable[[str], Op], ranges: Mapping[str, Interval], places: _Places
) -> tuple[Int64Array, Mask, list[Sum]]:
    """The class of every place, the classes that stay in any case, and the weighted sums."""
    pairs: list[tuple[Int64Array, Int64Array]] = []
    fixed = [name for name in (*graph.inputs, *graph.outputs) if name in places.first]
    sums: list[Sum] = []
    for node in graph.nodes:
        found = channels_of(graph, node, find_op(node.op))
        if found is None:
            fixed += [name for name in (*node.inputs, *node.outputs) if name in places.first]
            continue
        result = places.of(graph.outputs_of(node)[0])
        if found.weighted:
            sums.append(_sum(graph, node, ranges, places))
            continue
        labelled = [(result, found.result)]
        for value, labels in zip(graph.inputs_of(node), found.operands, strict=True):
            if value.name in graph.constants:
                continue
            if labels is None:
                fixed.append(value.name)
            else:
                labelled.append((places.of(value), labels))
        pairs += _linked(labelled)
    classes = _merged(places.count, pairs)
    pinned = np.zeros(places.count, bool)
    for name in fixed:
        pinned[classes[places.of(graph.values[name])]] = True
    return classes, pinned, sums


def _linked(
    labelled: list[tuple[Int64Array, Int64Array]],
) -> Iterator[tuple[Int64Array, Int64Array]]:
    """Pairs of places, all of one label joined to the first one with it."""
    at = np.concatenate([places for places, _ in labelled])
    labels = np.concatenate([labels for _, labels in labelled])
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    yield at, at[first[inverse]]


def _merged(count: int, pairs: list[tuple[Int64Array, Int64Array]]) -> Int64Array:
    """The least place of each place's class."""
    classes = np.arange(count)
    if not pairs:
        return classes
    a, b = (np.concatenate(side) for side in zip(*pairs, strict=True))
    while True:
        before = classes.copy()
        least = np.minimum(classes[a], classes[b])
        np.minimum.at(classes, a, least)
        np.minimum.at(classes, b, least)
        classes = classes[classes]
        if np.array_equal(before, classes):
            return classes


def _sum(graph: Graph, node: Node, ranges: Mapping[str, Interval], places: _Places) -> Sum:
    x = graph.inputs_of(node)[0]
    weights = centered_weights(graph, node)
    return Sum(
        places.of(x),
        places.of(graph.outputs_of(node)[0]),
        np.asarray(weights.any(axis=1)),
        _foldable(graph, node, ranges[x.name].over(x.shape[-1]), weights),
    )


def _foldable(graph: Graph, node: Node, x: Interval, weights: Int64Array) -> Mask:
    """Inputs that are one number, also in the padding, if the bias can hold their products."""
    constant = is_constant(x)
    if any(getattr(node.attrs, "padding", ())):
        constant &= x.low == getattr(node.attrs, "input_zero_point", 0)
    accumulator = graph.outputs_of(node)[0].dtype
    # The products of whatever inputs may be folded, and the bias, in float64: no wrapping.
    reach = np.abs(weights).sum(axis=1, dtype=float) @ np.abs(np.where(constant, x.low, 0))
    if len(node.inputs) > 2:
        bias = graph.constants[node.inputs[2]]
        accumulator = graph.values[node.inputs[2]].dtype
        if not whole_number_fits(bias):
            return np.zeros_like(constant)
        reach = reach + np.abs(bias.reshape(-1).astype(float))
    fits = reach.max() <= min(accumulator.maximum, 2**62)
    return constant if fits else np.zeros_like(constant)


def _needed(classes: Int64Array, pinned: Mask, sums: list[Sum]) -> Mask:
    """By class: the largest set of channels to remove, found from above."""
    live = np.ones(len(classes), bool)
    while True:
        needed = pinned.copy()
        for s in sums:
            counts = s.nonzero[live[classes[s.results]]].any(axis=0)
            needed[classes[s.inputs[counts & ~s.foldable]]] = True
        if np.array_equal(needed[classes], live[classes]):
            return needed
        live = needed


def _filled_up(
    classes: Int64Array, live: Mask, constant: Mask, spans: list[Int64Array], multiple: int
) -> list[int]:
    """Classes that round the number of every value's channels up; constant ones first."""
    now = live.copy()
    added: list[int] = []
    for span in spans:
        mask = now[classes[span]]
        if mask.all():
            continue
        spare = span[~mask]
        candidates = iter([*spare[constant[spare]], *spare[~constant[spare]]])
        while (count := int(now[classes[span]].sum())) < len(span):
            if count and count % multiple == 0:
                break
            chosen = int(classes[next(candidates)])
            now[chosen] = True
            added.append(chosen)
    return added
