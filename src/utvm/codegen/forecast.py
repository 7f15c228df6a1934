"""What a network costs on a core, known without compiling or running it.

In: a module as the code generator prints it, and a target. Out: a ``Forecast`` of cycles and
instructions per kernel. Micro functions that the back end has assembled are priced instruction by
instruction; everything else is counted as operations that a C compiler is taken to make of it,
priced by the target's table. docs/design/forecast.md says how far off the figures are.
"""

from __future__ import annotations

from collections import defaultdict

from utvm.codegen.forecast_assembly import Node, read_assembly
from utvm.codegen.forecast_code import MISPREDICTED, Call, Work, count_work
from utvm.codegen.forecast_price import Forecast, price_call
from utvm.codegen.forecast_rounds import UNKNOWN_ROUNDS
from utvm.ir.loop import Function, Module
from utvm.target.costs import Costs
from utvm.target.target import Target

__all__ = ["Forecast", "Forecaster", "forecast_function", "forecast_module"]


def forecast_module(module: Module, target: Target) -> dict[str, Forecast] | None:
    """The cost of one call of each kernel, by name; None for a target without costs."""
    if target.costs is None:
        return None
    forecaster = Forecaster(module, target, target.costs)
    return {function.name: forecaster.kernel(function) for function in module.functions}


def forecast_function(function: Function, module: Module, target: Target) -> Forecast | None:
    """The cost of one call of a kernel that invokes micro functions of ``module``."""
    if target.costs is None:
        return None
    return Forecaster(module, target, target.costs).kernel(function)


class Forecaster:
    """Remembers what calls of micro functions cost, which kernels share."""

    def __init__(self, module: Module, target: Target, costs: Costs) -> None:
        self.target, self.costs = target, costs
        self.assembly = module.assembly
        self.micros = {micro.name: micro for micro in module.micros}
        self.trees: dict[str, tuple[Node, ...] | None] = {}
        self.known: dict[Call, tuple[dict[str, float], Forecast]] = {}

    def kernel(self, function: Function) -> Forecast:
        """What one call costs."""
        operations, exact = self.work(function)
        return exact + self._priced(operations)

    def work(self, function: Function) -> tuple[dict[str, float], Forecast]:
        """The operations of one call that are in C, and the cost of what is assembled."""
        return self._gathered(count_work(function, self.costs, bool(function.in_place)))

    def _gathered(self, work: Work) -> tuple[dict[str, float], Forecast]:
        operations, exact = defaultdict(float, work.operations), Forecast()
        for call, count in work.calls.items():
            inner, cost = self._call(call)
            exact += cost.times(count)
            for name, times in inner.items():
                operations[name] += times * count
        return operations, exact

    def _priced(self, operations: dict[str, float]) -> Forecast:
        cycles = instructions = 0.0
        for name, count in operations.items():
            if name == MISPREDICTED:
                cycles += count * self.costs.mispredict_cycles
                continue
            cycles += count * self.costs.cycles[name]
            instructions += count * self.costs.instructions[name]
        return Forecast(cycles, instructions)

    def _call(self, call: Call) -> tuple[dict[str, float], Forecast]:
        if call not in self.known:
            name, integers = call
            micro = self.micros[name]
            scalars = (var.name for var in micro.scalars)
            values = {
                scalar: UNKNOWN_ROUNDS if integer is None else integer
                for scalar, integer in zip(scalars, integers, strict=True)
            }
            tree = self._tree(micro)
            if tree is None:
                work = count_work(micro, self.costs, True, values)
                self.known[call] = self._gathered(work)
            else:
                cost = price_call(tree, values, self.target.pipeline, self.costs)
                self.known[call] = {}, cost
        return self.known[call]

    def _tree(self, micro: Function) -> tuple[Node, ...] | None:
        """The text of a micro function, read once; None for one in C."""
        if micro.name not in self.trees:
            text = self.assembly.get(micro.name)
            self.trees[micro.name] = None if text is None else read_assembly(text, micro.body)
        return self.trees[micro.name]
