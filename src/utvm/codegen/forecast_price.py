"""What assembled micro functions cost: their tree, walked with numbers of rounds that are known.

In: the tree of ``forecast_assembly`` and the values of the micro function's integers. Out: cycles
and instructions of one call. Straight lines go through the pipeline's rules (``thumb.pricing``) as
they follow each other in the run; a loop's first round is priced behind what stands before it, all
others in the steady state.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from utvm.codegen.forecast_assembly import (
    FLOAT,
    FLOAT_DIVIDE,
    FLOAT_LOAD,
    FLOAT_MAC,
    FLOAT_STORE,
    MULTIPLE,
    Choice,
    Line,
    Loop,
    Node,
    Straight,
)
from utvm.codegen.forecast_rounds import UNKNOWN, Values, governing, holds, mispredicted, rounds_of
from utvm.codegen.thumb.ops import LOAD, MULTIPLY, STORE
from utvm.codegen.thumb.pricing import Timeline, timeline
from utvm.target.costs import Costs
from utvm.target.pipeline import Pipeline

_FLOAT_CYCLES = {FLOAT: 1, FLOAT_MAC: 3, FLOAT_DIVIDE: 14, FLOAT_LOAD: 2, FLOAT_STORE: 2}
"""On single-issue cores, where float accesses overlap with nothing."""
_ALIKE = {FLOAT: MULTIPLY, FLOAT_MAC: MULTIPLY, FLOAT_LOAD: LOAD, FLOAT_STORE: STORE}
"""What floats come closest to on dual-issue cores: one unit, late results, no wait for sums."""


@dataclass(frozen=True)
class Forecast:
    """What running something once is expected to cost."""

    cycles: float = 0.0
    instructions: float = 0.0

    def __add__(self, other: Forecast) -> Forecast:
        return Forecast(self.cycles + other.cycles, self.instructions + other.instructions)

    def times(self, factor: float) -> Forecast:
        return Forecast(self.cycles * factor, self.instructions * factor)


def price_call(nodes: Sequence[Node], values: Values, pipeline: Pipeline, costs: Costs) -> Forecast:
    """One call of an assembled function, from its first instruction to its return."""
    pricer = _Pricer(pipeline, costs)
    return pricer.nodes(nodes, values) + pricer.jump()


class _Pricer:
    """Walks a tree; what it prices is what the pipeline's clock gains."""

    def __init__(self, pipeline: Pipeline, costs: Costs) -> None:
        self.pipeline = pipeline
        self.mispredict_cycles = costs.mispredict_cycles
        self.line: Timeline = timeline(pipeline)

    def nodes(self, nodes: Sequence[Node], values: Values) -> Forecast:
        total = Forecast()
        for node in nodes:
            match node:
                case Straight(lines):
                    total += self._straight(lines)
                case Loop():
                    total += self._loop(node, values)
                case Choice():
                    total += self._choice(node, values)
        return total

    def jump(self) -> Forecast:
        """What a jump costs more when it is taken."""
        before = self.line.now
        self.line.close()
        return Forecast(self.line.now - before)

    def _straight(self, lines: Sequence[Line]) -> Forecast:
        before = self.line.now
        for line in lines:
            self._issue(line)
            if line.target and not line.cond:
                self.line.close()
        return Forecast(self.line.now - before, len(lines))

    def _issue(self, line: Line) -> None:
        """One instruction; the back end's rules know nothing of floats and of several words."""
        kind, single = line.part.kind, self.pipeline.width == 1
        if single and kind in _FLOAT_CYCLES:
            self.line.now += _FLOAT_CYCLES[kind]
        elif kind in _ALIKE:
            self.line.issue(replace(line.part, kind=_ALIKE[kind]))
        elif kind in (MULTIPLE, FLOAT_DIVIDE):
            if not single:
                self.line.close()
            several = 1 + line.words if single else -(-line.words // 2)
            self.line.now += _FLOAT_CYCLES.get(kind, several)
        else:
            self.line.issue(line.part)

    def _loop(self, loop: Loop, values: Values) -> Forecast:
        """Every round but the last jumps back; the end of a loop is mispredicted."""
        rounds = rounds_of(loop.stmt, values)
        if not rounds:
            return Forecast(self.pipeline.branch_cycles - 1)
        name = loop.stmt.var.name
        total = Forecast()
        if name in governing(loop.stmt.body):
            for value in rounds[:-1]:
                total += self.nodes(loop.body, {**values, name: value}) + self.jump()
            total += self.nodes(loop.body, {**values, name: rounds[-1]})
        else:
            total += self.nodes(loop.body, values)
            if len(rounds) > 1:
                total += self.jump()
                again = self.nodes(loop.body, values)
                total += again.times(len(rounds) - 1)
            if len(rounds) > 2:
                total += self.jump().times(len(rounds) - 2)
        return total + Forecast(mispredicted(len(rounds)) * self.mispredict_cycles)

    def _choice(self, choice: Choice, values: Values) -> Forecast:
        known = holds(choice.stmt.condition, values)
        share = UNKNOWN if known is None else float(known)
        total = Forecast(self.pipeline.branch_cycles - 1).times(1 - share)
        if share:
            total += self.nodes(choice.then, values).times(share)
        if share < 1:
            total += self.nodes(choice.orelse, values).times(1 - share)
        return total
