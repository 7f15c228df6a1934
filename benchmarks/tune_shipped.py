"""Makes the tuning records that come with utvm: tunes the benchmark networks, keeps what matters.

In: the folder of the real networks, and a folder for all trials, where an interrupted run goes on.
Out: src/utvm/records/<target>.jsonl. One command, from the repository:

    python -m benchmarks.tune_shipped ../shared/models build/tuning --trials 24

With ``--again`` only what was shipped is measured, as the compiler is now.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from utvm.driver.load import import_model, load_model
from utvm.driver.options import SHIPPED_RECORDS
from utvm.schedule.records import Config, read_records, record_line
from utvm.target.target import load_target
from utvm.tune.distil import distil
from utvm.tune.tasks import find_tasks
from utvm.tune.tuner import TuneRequest, tune

TARGETS = ("cortex-m4", "cortex-m7")
NETWORKS = (
    "mlperf_resnet8_int8",
    "mlperf_vww96_int8",
    "mlperf_kws_int8",
    "mlperf_ad01_int8",
    "tflm_person_detect",
)
CIFAR = Path(__file__).parents[1] / "examples" / "cifar10_cnn"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", type=Path, help="the folder of the real networks")
    parser.add_argument("work", type=Path, help="where all trials are kept")
    parser.add_argument(
        "--trials", type=int, default=24, help="per network and target, for each kind of kernel"
    )
    parser.add_argument("--again", action="store_true", help="only what was shipped before")
    parser.add_argument("--targets", nargs="+", default=TARGETS)
    parser.add_argument("--params", type=Path, help="constants of the CIFAR-10 network")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    for target in arguments.targets:
        defaults: dict[str, list[Config]] = {}
        only = _shipped(target) if arguments.again else None
        for model, params in _models(arguments.models, arguments.params):
            defaults |= _tune(model, params, target, arguments.work, arguments.trials, only)
        _write(arguments.work, target, defaults)


def _models(folder: Path, params: Path | None) -> list[tuple[Path, Path | None]]:
    found: list[tuple[Path, Path | None]] = [(folder / n / "model.tflite", None) for n in NETWORKS]
    cifar = [(CIFAR / "cifar10_cnn.graph", params)] if params else []
    return [*found[:1], *cifar, *found[1:]]


def _shipped(target: str) -> dict[str, list[Config]]:
    """The configs of the records that are there, by workload."""
    found: dict[str, list[Config]] = {}
    for record in read_records(SHIPPED_RECORDS / f"{target}.jsonl").records:
        found.setdefault(record.workload, []).append(record.config)
    return found


def _tune(
    model: Path,
    params: Path | None,
    target: str,
    work: Path,
    trials: int,
    only: dict[str, list[Config]] | None,
) -> dict[str, list[Config]]:
    """Tunes a network; the default configs of its workloads."""
    name = model.parent.name
    records = work / f"{target}-{name}.jsonl"
    tasks = find_tasks(import_model(load_model(model, params)), load_target(target))
    count = trials * len(tasks)
    report = tune(TuneRequest(model, target, records, params, trials=count, only=only))
    rate = report.new_trials / report.seconds if report.seconds else 0.0
    figures = f"{report.untuned or 0:,} -> {report.tuned or 0:,} cycles"
    print(f"{target} {name}: {figures}, {report.done} trials, {rate:.1f}/s", flush=True)
    if report.interrupted:
        raise SystemExit(130)
    spaces = {state.task.workload.key: state.known.space for state in report.states}
    return {key: [space.configs[at] for at in space.defaults] for key, space in spaces.items()}


def _write(work: Path, target: str, defaults: dict[str, list[Config]]) -> None:
    paths = sorted(work.glob(f"{target}-*.jsonl"))
    kept = distil((r for path in paths for r in read_records(path).records), defaults)
    SHIPPED_RECORDS.mkdir(exist_ok=True)
    text = "".join(record_line(record) + "\n" for record in kept)
    scratch = work / f"{target}.jsonl"
    scratch.write_text(text, encoding="utf-8")
    shutil.copyfile(scratch, SHIPPED_RECORDS / f"{target}.jsonl")
    print(f"{target}: {len(kept)} records, {len(text)} bytes")


if __name__ == "__main__":
    main()
