"""Which convolutions take Winograd's algorithm, and how their results are dealt out to tiles.

In: a weighted sum and the knobs. Out: whether there are fewer products, how many tiles and filters
are taken at a time, and what decides about the code. Every size from 2x2 results on works: channels
are filled up to whole words, filters that fill no block make a smaller one, and of an odd number of
rows or columns one is made twice.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import gcd

import numpy as np

from utvm.ir.dtype import DType
from utvm.schedule.weighted_sum import WeightedSum
from utvm.schedule.winograd_algorithm import EVERYWHERE
from utvm.schedule.winograd_block import WinogradSchedule, fits_words, turn_steps
from utvm.schedule.winograd_transform import tile_of

MOST_TAPS = 7
MOST_SUMS = 8
MOST_UNROLLED = 160
"""Products in a turn of the loop: more gain little, and assembling them takes seconds."""


def is_winograd(w: WeightedSum) -> bool:
    """Windows where products are saved, and at least a tile of results. An odd row or column is
    made twice, so nothing that the results overwrite may be read."""
    return (
        min(w.window) > 1
        and max(w.window) <= MOST_TAPS
        and saves_products(w)
        and w.source.dtype in (DType.INT8, DType.UINT8)
        and w.row_dilation == 1
        and min(w.rows, w.columns, w.filters) >= 2
        and not (w.function.in_place and (w.rows % 2 or w.columns % 2))
        and w.depth >= 4
        and fits_words(whole_channels(w), np.zeros(w.filters, np.int32))
    )


def whole_channels(w: WeightedSum) -> WeightedSum:
    """The sum with as many channels as whole words hold: the others have weights of zero, so it
    does not matter what they are."""
    missing = -w.depth % 4
    if missing == 0:
        return w
    weights = np.pad(w.weights, ((0, 0), (0, 0), (0, 0), (0, missing)))
    image = (*w.image[:3], w.depth + missing)
    return replace(w, image=image, weights=weights, pitch=w.pixel_pitch)


@dataclass(frozen=True)
class Tiles:
    """How a row of results is dealt out: ``first`` tiles side by side, ``block`` at a time; then,
    of odd columns, the ``last`` ones, which end where the row ends."""

    block: int
    first: int
    last: int


def tiles_of(w: WeightedSum, schedule: WinogradSchedule) -> Tiles:
    """Of odd columns, one is made twice."""
    block = min(schedule.tiles, w.columns // 2)
    tiles = -(-w.columns // 2)
    last = w.columns % 2 * (tiles % block or block)
    return Tiles(block, tiles - last, last)


def filter_parts(
    w: WeightedSum, schedule: WinogradSchedule
) -> list[tuple[int, int, WinogradSchedule]]:
    """First filter and number of filters, and how many at a time: whole blocks, then those left."""
    width = min(schedule.filters, w.filters)
    rest = w.filters % width
    parts = [(0, w.filters - rest, width), *([(w.filters - rest, rest, rest)] if rest else [])]
    return [
        (first, count, replace(schedule, filters=each, results=gcd(schedule.results, each)))
        for first, count, each in parts
    ]


def saves_products(w: WeightedSum) -> bool:
    """Whether there are fewer products than in the sums; strides as long as the window leave the
    pixels of a tile with one result each."""
    (kh, kw), tile = w.window, tile_of(w)
    everywhere = EVERYWHERE in tile.rows.positions and EVERYWHERE in tile.columns.positions
    return everywhere and len(tile.products) < 4 * kh * kw


def expandable(w: WeightedSum, schedule: WinogradSchedule) -> bool:
    """Whether weights can be transformed at run time: from bytes, in blocks of one size."""
    return w.narrow and len(filter_parts(w, schedule)) == 1


def winograd_form(w: WeightedSum, schedule: WinogradSchedule) -> tuple[object, ...] | None:
    """What decides about the code, equal for schedules that make the same; None if there is no such
    kernel: too many sums for the registers, filters that do not divide."""
    s, tile = schedule, tile_of(w)
    tiles, parts = tiles_of(w, s), filter_parts(w, s)
    sums = tiles.block * parts[0][2].filters
    if sums > MOST_SUMS or s.filters % s.results or (s.expanded and not expandable(w, s)):
        return None
    chunk = tiles_on_end(w, s)
    turns = tuple(turn_steps(run.each * w.depth // 2, s.steps) for run in tile.runs)
    if max(turns) * sums > MOST_UNROLLED:
        return None
    width = parts[0][2]
    together = tiles_together(w, s)
    return tiles.block, width.filters, turns, width.results, together, chunk, s.expanded


def tiles_on_end(w: WeightedSum, schedule: WinogradSchedule) -> int:
    """Tiles of a strip that are transformed, then multiplied: shares of equal size, of whole blocks
    of tiles."""
    tiles, block = tiles_of(w, schedule).first, schedule.tiles
    each = 2 * len(tile_of(w).products) * w.depth
    most = max(schedule.value_bytes // each // block, 1) * block
    chunks = -(-tiles // most)
    return min(-(-tiles // chunks // block) * block, tiles)


def tiles_together(w: WeightedSum, schedule: WinogradSchedule) -> int:
    """Tiles that are transformed in a turn: one where otherwise something would be left over."""
    tiles, together = tiles_of(w, schedule), schedule.together
    counts = tiles_on_end(w, schedule), tiles.first, tiles.last
    return 1 if any(count % together for count in counts) else together


def stream_bytes(w: WeightedSum) -> int:
    """What the transformed weights take."""
    return 2 * len(tile_of(w).products) * w.depth * w.filters
