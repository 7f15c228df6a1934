"""The tuning loop: budgets, resuming, exhaustion, kills; and that compiling uses what it found."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.tune.networks import TARGET, network_tasks, write_network
from utvm.driver.execute import RunRequest, execute
from utvm.driver.load import import_model, load_model
from utvm.driver.options import find_records, resolve_run_options, with_schedules
from utvm.driver.pipeline import compile_graph
from utvm.schedule.records import Record, config_of, read_records, record_line
from utvm.support.errors import InputError
from utvm.target.target import load_target
from utvm.tune import tuner
from utvm.tune.measure import Job, Setup, Trial
from utvm.tune.tuner import TuneReport, TuneRequest, tune

REPOSITORY = Path(__file__).parents[2]


class FakePool:
    """Two devices whose answers are a formula; every seventh job faults."""

    def __init__(self, setups: Sequence[Setup], silence_seconds: float) -> None:
        self.tasks = setups[0].tasks
        self.given: list[list[Job]] = []

    def __enter__(self) -> FakePool:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    @property
    def idle(self) -> int:
        return 2 - len(self.given)

    @property
    def busy(self) -> bool:
        return bool(self.given)

    def give(self, jobs: Sequence[Job]) -> None:
        self.given.append(list(jobs))

    def wait(self, seconds: float) -> list[Trial]:
        return [self.trial(job) for job in self.given.pop(0)]

    def trial(self, job: Job) -> Trial:
        knobs = dict(job.config)
        number = sum(int(v) for v in knobs.values() if isinstance(v, int)) % 500
        if number % 7 == 0:
            return Trial(job.id, "fault", detail="bus fault")
        return Trial(job.id, "ok", 1_000_000 - 10 * number, 100 + number, 64, 0.1)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuner, "Pool", FakePool)


def _request(folder: Path, **changes: Any) -> TuneRequest:
    model, params = write_network(folder)
    values = {"records": folder / "r.jsonl", "devices": ("emulator*2",), **changes}
    return TuneRequest(model, TARGET, params=params, **values)


def _keys(path: Path) -> list[tuple[str, tuple[tuple[str, int | str], ...]]]:
    return [(r.workload, r.config) for r in read_records(path).records]


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize("search", ["model", "random", "grid", "genetic"])
def test_a_run_makes_as_many_trials_as_asked(tmp_path: Path, search: str) -> None:
    updates: list[tuner.Update] = []
    report = tune(_request(tmp_path, trials=41, search=search), updates.append)
    records = read_records(tmp_path / "r.jsonl").records
    assert (report.done, report.new_trials, len(records), len(updates)) == (41, 41, 41, 41)
    assert len(set(_keys(tmp_path / "r.jsonl"))) == 41
    assert report.failed == sum(record.status == "fault" for record in records)
    assert [record.trial for record in records] == list(range(1, 42))
    best = [point.best for point in report.curve]
    assert best == sorted(best, reverse=True)
    assert all(point.tried is None or point.tried >= point.best for point in report.curve)
    assert all(state.trials >= 4 for state in report.states)
    assert (updates[-1].total, 41) == (report.curve[-1].best, report.curve[-1].trial)


@pytest.mark.usefixtures("fake")
def test_a_run_goes_on_behind_a_torn_line(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    tune(_request(tmp_path, trials=12))
    whole = path.read_bytes()
    path.write_bytes(whole[:-30])
    report = tune(_request(tmp_path, trials=20))
    assert (report.done, report.new_trials, report.skipped_lines) == (20, 9, 1)
    kept = read_records(path)
    assert (len(kept.records), len(kept.skipped)) == (20, 1)
    assert len(set(_keys(path))) == 20
    assert path.read_bytes().startswith(whole[:-30])
    assert tune(_request(tmp_path, trials=20)).new_trials == 0


@pytest.mark.usefixtures("fake")
def test_all_schedules_are_tried_and_then_it_ends(tmp_path: Path) -> None:
    report = tune(_request(tmp_path, trials=10_000, search="random"))
    spaces = [len(task.options(load_target(TARGET))) for task in network_tasks(tmp_path)]
    assert report.exhausted
    assert report.done == sum(spaces) == len(set(_keys(tmp_path / "r.jsonl")))


@pytest.mark.usefixtures("fake")
def test_size_tries_only_schedules_with_few_constants(tmp_path: Path) -> None:
    tune(_request(tmp_path, trials=10_000, search="grid", objective="size"))
    wide = {dict(config).get("wide") for _, config in _keys(tmp_path / "r.jsonl")}
    assert 0 in wide and 1 not in wide


@pytest.mark.usefixtures("fake")
def test_only_what_is_named_is_tried(tmp_path: Path) -> None:
    task = network_tasks(tmp_path)[0]
    wanted = list(task.options(load_target(TARGET)))[-3:]
    unknown = config_of({"template": "magic"})
    report = tune(_request(tmp_path, trials=99, only={task.workload.key: [*wanted, unknown]}))
    assert report.exhausted and report.done == 3
    assert {config for _, config in _keys(tmp_path / "r.jsonl")} == set(wanted)


@pytest.mark.usefixtures("fake")
def test_an_interrupt_ends_it_cleanly(tmp_path: Path) -> None:
    def interrupt(update: tuner.Update) -> None:
        if update.new_trials == 6:
            raise KeyboardInterrupt

    report = tune(_request(tmp_path, trials=100), interrupt)
    assert report.interrupted
    assert report.done == 6 == len(read_records(tmp_path / "r.jsonl").records)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"trials": 0}, "not positive"),
        ({"search": "magic"}, "unknown search"),
        ({"objective": "beauty"}, "unknown objective"),
        ({"target": "host"}, "is not tuned"),
    ],
)
def test_what_is_refused(tmp_path: Path, changes: dict[str, Any], text: str) -> None:
    target = changes.pop("target", TARGET)
    model, params = write_network(tmp_path)
    records = tmp_path / "r.jsonl"
    request = TuneRequest(model, target, records, params, devices=("emulator",), **changes)
    if target == "host":
        request = TuneRequest(model, target, records, params)
    with pytest.raises(InputError, match=text):
        tune(request)


@pytest.mark.usefixtures("fake")
def test_two_runs_do_not_write_to_one_file(tmp_path: Path) -> None:
    with (
        tuner.Journal(tmp_path / "r.jsonl"),
        pytest.raises(InputError, match="another tuning run writes to this file"),
    ):
        tune(_request(tmp_path))


def test_compiling_takes_what_was_measured(tmp_path: Path) -> None:
    tasks = network_tasks(tmp_path)
    target = load_target(TARGET)
    graph = import_model(load_model(*write_network(tmp_path)))
    options = tasks[0].options(target)
    block = {"pixels": 2, "filters": 3, "wide": 1}.items()
    wanted = next(at for at, config in enumerate(options) if block <= dict(config).items())
    lines = []
    for at, (config, option) in enumerate(options.items()):
        cycles = 100 if at == wanted else 1000 + at
        lines.append(
            record_line(
                Record(tasks[0].workload.key, target.name, "zig", "emulator", config, "ok", cycles)
            )
        )
        assert option.config == config
    unknown = config_of({"template": "magic", "speed": 11})
    lines.append(
        record_line(Record(tasks[0].workload.key, target.name, "zig", "emulator", unknown, "ok", 1))
    )
    path = tmp_path / "r.jsonl"
    path.write_text("\n".join(lines) + "\n")
    records = find_records([str(path)], target)
    tuned = compile_graph(graph, target, objective="cycles", records=records).module
    untuned = compile_graph(graph, target, objective="cycles").module
    assert any("conv2x3_" in micro.name for micro in tuned.micros)
    assert not any("conv2x3_" in micro.name for micro in untuned.micros)


def _tune(folder: Path, trials: int) -> TuneReport:
    return tune(_request(folder, trials=trials, devices=("emulator*2",), objective="cycles"))


def test_the_network_runs_as_its_kernels_were_measured(tmp_path: Path) -> None:
    report = _tune(tmp_path, 24)
    assert {r.detail for r in read_records(tmp_path / "r.jsonl").records} == {""}
    model, params = write_network(tmp_path)
    runs = {}
    for name in (str(tmp_path / "r.jsonl"), "none"):
        options = with_schedules(resolve_run_options(TARGET), "cycles", False, [name])
        runs[name] = execute(RunRequest(model, options, params)).run
    tuned, untuned = runs.values()
    assert all(np.array_equal(a, b) for a, b in zip(tuned.outputs, untuned.outputs, strict=True))
    best = {kernel: s.best for s in report.states for kernel in s.task.kernels}
    for operator in tuned.operators:
        measured = best[operator.name]
        assert operator.cycles is not None and measured is not None
        # A measured call has the checks of the packed signature around it.
        assert 0 < measured - operator.cycles < 700
    assert tuned.cycles is not None and untuned.cycles is not None
    assert tuned.cycles <= untuned.cycles


def _command(folder: Path, trials: int) -> list[str]:
    model, params = write_network(folder)
    arguments = [str(model), "--params", str(params), "--target", TARGET, "--json"]
    arguments += ["--records", str(folder / "r.jsonl"), "--trials", str(trials)]
    return [sys.executable, "-m", "utvm.cli", "tune", *arguments, "--devices", "emulator*2"]


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def test_a_killed_run_is_resumed(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "src")}
    run = subprocess.Popen(
        _command(tmp_path, 1000),
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        end = time.monotonic() + 300  # the first trials fill the cache, perhaps on a busy machine
        while _lines(path) < 4 and time.monotonic() < end:
            time.sleep(0.05)
    finally:
        run.send_signal(signal.SIGKILL)
        run.wait()
    assert _lines(path) >= 4
    before, kept = path.read_bytes(), len(read_records(path).records)
    done = subprocess.run(
        _command(tmp_path, kept + 4), env=environment, capture_output=True, check=True
    )
    report = json.loads(done.stdout)
    assert (report["trials"], report["new_trials"]) == (kept + 4, 4)
    assert path.read_bytes().startswith(before)
    assert len(set(_keys(path))) == kept + 4
