"""Runs random layers: each must equal LiteRT's reference kernels, and what they cost is noted.

In: a seed, which layers of it, a target. Out: a line per layer with its shape, whether it is exact
and the modelled cycles. ``python -m tests.models.shape_sweep 500 cortex-m4`` writes the lines to a
file, where a later run goes on; ``python -m benchmarks.sweep`` makes the page of such files.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import numpy as np

from tests.compiled import measure_models
from tests.litert import run_litert
from tests.models.random_shapes import Shape, random_shape
from tests.op.single_op_models import Model
from utvm.support.errors import InternalError, UtvmError

BATCH = 20
SEED = 2026


@dataclass(frozen=True)
class Line:
    """What one layer took. ``wrong`` says what is wrong with it; it is empty of exact ones."""

    number: int
    shape: Shape
    cycles: int
    wrong: str = ""


def sweep(seed: int, first: int, count: int, target: str) -> Iterator[Line]:
    """Runs ``count`` layers from ``first`` on, some in one program."""
    for begin in range(first, first + count, BATCH):
        numbers = list(range(begin, min(begin + BATCH, first + count)))
        drawn = [random_shape(seed, number) for number in numbers]
        try:
            lines = _measured(numbers, drawn, target)
        except (UtvmError, InternalError, AssertionError):
            # Some layer of the batch stops the others: each on its own.
            lines = [
                _alone(number, pair, target) for number, pair in zip(numbers, drawn, strict=True)
            ]
        yield from lines


def _alone(number: int, drawn: tuple[Shape, Model], target: str) -> Line:
    try:
        return _measured([number], [drawn], target)[0]
    except (UtvmError, InternalError, AssertionError) as error:
        return Line(number, drawn[0], 0, f"{type(error).__name__}: {error}"[:300])


def _measured(numbers: list[int], drawn: list[tuple[Shape, Model]], target: str) -> list[Line]:
    models = [(model.data, model.inputs) for _, model in drawn]
    measured = measure_models(models, target, "cycles")
    lines: list[Line] = []
    for number, (shape, model), (outputs, _, cycles) in zip(numbers, drawn, measured, strict=True):
        expected = run_litert(model.data, model.inputs)
        differ = sum(int((a != b).sum()) for a, b in zip(outputs, expected, strict=True))
        size = sum(np.size(b) for b in expected)
        wrong = f"{differ} of {size} results differ" if differ else ""
        lines.append(Line(number, shape, cycles, wrong))
    return lines


def read_lines(path: Path) -> list[Line]:
    """The lines of a file; a last one that was cut off does not count."""
    lines: list[Line] = []
    if not path.exists():
        return lines
    for text in path.read_text(encoding="utf-8").split("\n")[:-1]:
        data = json.loads(text)
        fields = {k: tuple(v) if isinstance(v, list) else v for k, v in data["shape"].items()}
        lines.append(Line(data["number"], Shape(**fields), data["cycles"], data["wrong"]))
    return lines


@click.command()
@click.argument("count", type=int)
@click.argument("target")
@click.option("--seed", default=SEED, show_default=True)
@click.option("--first", default=0, show_default=True, help="Number of the first layer.")
@click.option("--only", type=int, multiple=True, help="Run these layers alone; write no file.")
@click.option("--folder", type=click.Path(path_type=Path), default=Path("build/sweep"))
def main(
    count: int, target: str, seed: int, first: int, only: tuple[int, ...], folder: Path
) -> None:
    """Runs COUNT layers on TARGET and says which are wrong."""
    if only:
        for number in only:
            _show(_alone(number, random_shape(seed, number), target))
        return
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{target}-{seed}.jsonl"
    done = {line.number for line in read_lines(path)}
    left = [number for number in range(first, first + count) if number not in done]
    with path.open("a", encoding="utf-8") as file:
        while left:
            begin = left[0]
            many = next((i for i, n in enumerate(left) if n != begin + i), len(left))
            for line in sweep(seed, begin, min(many, BATCH), target):
                file.write(json.dumps(asdict(line)) + "\n")
                if line.wrong:
                    _show(line)
            file.flush()
            left = left[min(many, BATCH) :]
    lines = [line for line in read_lines(path) if first <= line.number < first + count]
    wrong = sum(bool(line.wrong) for line in lines)
    click.echo(f"{len(lines) - wrong} of {len(lines)} layers equal LiteRT on {target}")


def _show(line: Line) -> None:
    rate = line.cycles / max(line.shape.macs, 1)
    click.echo(f"{line.number} {line.shape}: {line.wrong or f'{rate:.2f} cycles a MAC'}")


if __name__ == "__main__":
    main()
