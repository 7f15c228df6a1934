"""A max or average pool over bytes as runs of windows of one size: the whole kernel.

In: an unscheduled kernel, the module's constants. Out: the kernel that invokes a micro function for
each run of windows in a row of results, with these; or None where the kernel is of another kind.
Nothing is padded and nothing copied: at the border windows are smaller.

    for y in rows of one size: max_3x3(in[...], out[...], turns);  max_3x2(in[...], out[...], 1)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from utvm.ir.loop import Expr, Function, Imm, Invoke, Pointer, Stmt, Var, loop
from utvm.ir.rewrite import simplify_body, statements
from utvm.schedule.conv_kernel import Scheduled
from utvm.schedule.pool_block import MOST_UNROLLED, PoolBlock
from utvm.schedule.pool_window import Pool, Segment, read_pool
from utvm.schedule.weighted_sum import Array

MOST_RESULTS = 2
"""Windows side by side whose columns are shared, where nothing else was measured."""


def schedule_pool(
    function: Function, constants: Mapping[str, Array], together: int = MOST_RESULTS
) -> Scheduled | None:
    """The kernel over packed words, or None; ``together`` windows side by side share columns."""
    pool = read_pool(function, constants)
    return None if pool is None else _Kernel(pool, together).build()


def most_together(pool: Pool) -> int:
    """How many windows side by side can share columns without a loop over the window."""
    rows = max(segment.size for segment in pool.segments(0))
    found = 1
    for column in pool.segments(1):
        room = MOST_UNROLLED // rows - column.size
        if room >= 0:
            found = max(found, min(column.count, 1 + room // pool.strides[1]))
    return found


@dataclass
class _Kernel:
    pool: Pool
    together: int = MOST_RESULTS
    micros: dict[tuple[int, int, int, Expr], Function] = field(default_factory=dict)

    def build(self) -> Scheduled | None:
        pool = self.pool
        body: list[Stmt] = []
        for row in pool.segments(0):
            y = Var("y")
            calls: list[Stmt] = []
            for column in pool.segments(1):
                run = self._run(row, column, y)
                if run is None:
                    return None
                calls += run
            body.append(loop(y, row.count, *calls))
        whole = simplify_body((loop(Var("n"), pool.image[0], *body),))
        invokes = [stmt for stmt in statements(whole) if isinstance(stmt, Invoke)]
        given = {pointer.buffer.name for invoke in invokes for pointer in invoke.pointers}
        tables = tuple(b for b in pool.function.constants if b.name in given)
        function = replace(pool.function, body=whole, workspace=(), constants=tables)
        return Scheduled(function, tuple(self.micros.values()))

    def _run(self, row: Segment, column: Segment, y: Expr) -> list[Invoke] | None:
        """The windows of one size in row ``y`` of a segment: as many as go together, the rest."""
        together = min(self.together, column.count)
        span = (together - 1) * self.pool.strides[1] + column.size
        if row.size * span > MOST_UNROLLED:
            together = 1
        turns, rest = divmod(column.count, together)
        found: list[Invoke] = []
        for results, first, count in ((together, 0, turns), (1, turns * together, rest)):
            if count:
                micro = self._micro(row, column, results)
                if micro is None:
                    return None
                pointers = self._pointers(row, column, y, first)
                found.append(Invoke(micro.name, pointers, (Imm(count),)))
        return found

    def _micro(self, row: Segment, column: Segment, results: int) -> Function | None:
        """The micro function; windows of one size that are finished alike share it."""
        pool = self.pool
        at = row.first, column.first
        key = (row.size, column.size, results, pool.finished(Var("acc"), *at))
        if key not in self.micros:
            micro = PoolBlock(pool, row.size, column.size, results, at).build()
            if micro is None:
                return None
            name = micro.name if results == self.together else f"{micro.name}_{results}"
            taken = [other.name for other in self.micros.values()]
            if name in taken:
                name = f"{name}_{len(taken)}"
            self.micros[key] = replace(micro, name=name)
        return self.micros[key]

    def _pointers(self, row: Segment, column: Segment, y: Expr, first: int) -> tuple[Pointer, ...]:
        """Where windows, tables and results begin, ``first`` results into the segment."""
        pool, n = self.pool, Var("n")
        _, height, width, channels = pool.image
        rows, columns = pool.results
        top = n * height + y * pool.strides[0] + row.begin
        left = column.begin + first * pool.strides[1]
        out = pool.function.outputs[0]
        result = ((n * rows + y + row.first) * columns + (column.first + first)) * channels
        return (
            Pointer(pool.source.view(pool.source.elements), (top * width + left) * channels),
            *(Pointer(table, Imm(0)) for table in pool.lookups(row.first, column.first)),
            Pointer(out.view(out.elements), result),
        )
