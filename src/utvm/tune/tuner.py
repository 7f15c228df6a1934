"""The tuning loop: proposes configs, has them measured, writes records, until the trials are done.

In: a ``TuneRequest``. Out: a ``TuneReport``; on the way, an ``Update`` for each trial. Trials that
the file of records already has count, so a run that was ended in any way goes on where it was.
Tasks are chosen by what they can gain: cycles times calls, less the more trials they have had.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path

import numpy as np

from utvm.device.toolchain import find_toolchain
from utvm.driver.load import import_model, load_model
from utvm.driver.options import check_objective
from utvm.schedule.knobs import Option
from utvm.schedule.records import OK, Config, Record, size_score
from utvm.support.errors import InputError
from utvm.support.text import printable
from utvm.target.target import Target, load_target
from utvm.tune.curve import Point
from utvm.tune.devices import Device, find_devices
from utvm.tune.journal import Journal
from utvm.tune.measure import Job, Setup, Trial
from utvm.tune.pool import Pool
from utvm.tune.search import SEARCHES, Known, Model, propose
from utvm.tune.space import knob_names, make_space
from utvm.tune.tasks import Task, find_tasks

BATCH = 4
"""Configs that a worker gets at a time: they share one run of compiler and linker."""

_TRAIN_EVERY = 24  # trials between two trainings of the cost model
_TRAIN_FROM = 24  # measured configs, below which it knows nothing
_SILENCE_SECONDS = 120.0


@dataclass(frozen=True)
class TuneRequest:
    """What to tune, with what, and how. ``trials`` are those of the file together, old and new;
    ``only`` names the configs that may be tried, by workload, where not all are."""

    model: Path
    target: str
    records: Path
    params: Path | None = None
    trials: int = 500
    search: str = "model"
    objective: str = "balanced"
    devices: tuple[str, ...] = ()
    board: str | None = None
    toolchain: str | None = None
    seed: int = 0
    run_seconds: float = 10.0
    silence_seconds: float = _SILENCE_SECONDS
    only: Mapping[str, Collection[Config]] | None = None


@dataclass(eq=False)
class TaskState:
    """A task and what is known of it. ``untuned`` are the cycles of the best default schedule."""

    task: Task
    options: Mapping[Config, Option]
    known: Known
    cycles: dict[int, int]
    old_trials: int = 0
    new_trials: int = 0

    @property
    def trials(self) -> int:
        return self.old_trials + self.new_trials

    @property
    def best(self) -> int | None:
        """Cycles of the fastest config that is measured."""
        return min(self.cycles.values(), default=None)

    @property
    def best_config(self) -> Config | None:
        if not self.cycles:
            return None
        return self.known.space.configs[min(self.cycles, key=lambda at: self.cycles[at])]

    @property
    def untuned(self) -> int | None:
        found = [self.cycles[at] for at in self.known.space.defaults if at in self.cycles]
        return min(found, default=None)

    @property
    def weight(self) -> float:
        """Cycles in a run of the network; unknown ones come first."""
        return inf if self.best is None else float(self.best * self.task.calls)


@dataclass(frozen=True)
class Update:
    """How far a run is. ``total`` are the best known cycles of all tasks in one run of the network,
    None before each has some. ``record`` is the trial that has just ended."""

    record: Record
    done: int
    trials: int
    new_trials: int
    seconds: float
    total: int | None

    @property
    def rate(self) -> float:
        """Trials per second of this run."""
        return self.new_trials / self.seconds if self.seconds else 0.0


@dataclass(frozen=True, eq=False)
class TuneReport:
    """A run that has ended: by itself, because all spaces are ``exhausted``, or ``interrupted``."""

    states: tuple[TaskState, ...]
    target: Target
    done: int
    new_trials: int
    failed: int
    skipped_lines: int
    seconds: float
    curve: tuple[Point, ...]
    exhausted: bool
    interrupted: bool

    @property
    def untuned(self) -> int | None:
        """Cycles in a run of the network, each kernel by its best default."""
        return _sum((state.untuned, state.task.calls) for state in self.states)

    @property
    def tuned(self) -> int | None:
        """The same, each by the best that was found."""
        return _sum((state.best, state.task.calls) for state in self.states)


def _sum(parts: Iterable[tuple[int | None, int]]) -> int | None:
    """Cycles times calls; None where one is not known."""
    total = 0
    for cycles, calls in parts:
        if cycles is None:
            return None
        total += cycles * calls
    return total


def tune(request: TuneRequest, watch: Callable[[Update], None] = lambda update: None) -> TuneReport:
    """Runs trials until there are as many as asked for. An interrupt ends it early and cleanly."""
    _check(request)
    target = load_target(request.target)
    if target.is_native:
        raise InputError("this target is not tuned", where=target.name, expected="a device")
    devices = find_devices(request.devices, target, request.board)
    toolchain = find_toolchain(request.toolchain, target).version()
    tasks = find_tasks(import_model(load_model(request.model, request.params)), target)
    if not tasks:
        raise InputError(
            "nothing in this network can be tuned for the target",
            where=f"{printable(request.model.name)}, {target.name}",
            hint="its kernels have one schedule each",
        )
    with Journal(request.records) as journal:
        run = _Run(request, target, devices, toolchain, _states(tasks, target, request), journal)
        return run.run(watch)


def _check(request: TuneRequest) -> None:
    check_objective(request.objective)
    if request.search not in SEARCHES:
        raise InputError(
            f"unknown search '{printable(request.search)}'",
            expected=f"one of {', '.join(SEARCHES)}",
        )
    if request.trials < 1:
        raise InputError("the number of trials is not positive", found=str(request.trials))


def _states(tasks: Sequence[Task], target: Target, request: TuneRequest) -> list[TaskState]:
    spaces = [task.options(target) for task in tasks]
    knobs = knob_names([option for space in spaces for option in space.values()])
    states = []
    for task, options in zip(tasks, spaces, strict=True):
        macs = task.module.functions[0].macs
        space = make_space(list(options.values()), knobs, macs)
        pool = space.small if request.objective == "size" else frozenset(range(len(space)))
        if request.only is not None:
            wanted = request.only.get(task.workload.key, ())
            pool &= {space.index[config] for config in wanted if config in space.index}
        states.append(TaskState(task, options, Known(space, pool), {}))
    return states


class _Run:
    """One run of the loop."""

    def __init__(
        self,
        request: TuneRequest,
        target: Target,
        devices: Sequence[Device],
        toolchain: str,
        states: list[TaskState],
        journal: Journal,
    ) -> None:
        self.request, self.target, self.states, self.journal = request, target, states, journal
        self.devices, self.toolchain = devices, toolchain
        self.generator = np.random.default_rng(request.seed)
        self.jobs: dict[int, tuple[int, int]] = {}
        self.done = self.new = self.failed = 0
        self.model: Model | None = None
        self.trained_at = 0
        self.curve: list[Point] = []
        self.start = 0.0
        self.before_seconds = max((r.elapsed for r in journal.before.records), default=0.0)
        self._recall()

    def _recall(self) -> None:
        """What the file knows of these tasks on these devices."""
        by_key = {state.task.workload.key: state for state in self.states}
        names = {device.name for device in self.devices}
        for record in self.journal.before.records:
            state = by_key.get(record.workload)
            same = (record.target, record.toolchain) == (self.target.name, self.toolchain)
            if state is None or not same or record.device not in names:
                continue
            at = state.known.space.index.get(record.config)
            if at is not None and at not in state.known.scores:
                state.old_trials += 1
                self.done += 1
                self._learn(state, at, record)

    def _learn(self, state: TaskState, at: int, record: Record) -> None:
        if record.status == OK:
            state.cycles[at] = record.cycles
            state.known.scores[at] = self._score(record)
        else:
            state.known.scores[at] = None
        if (total := self.total()) is not None:
            self.curve.append(Point(self.done, total, _tried(state, record, total), record.elapsed))

    def _score(self, record: Record) -> float:
        """Less is better."""
        if self.request.objective == "size":
            return size_score(record.cycles, record.code_bytes)
        return float(max(record.cycles, 1))

    def total(self) -> int | None:
        """The best known cycles of all tasks in a run of the network."""
        return _sum((state.best, state.task.calls) for state in self.states)

    def run(self, watch: Callable[[Update], None]) -> TuneReport:
        self.start = time.monotonic()
        interrupted = False
        if self.done < self.request.trials:
            try:
                self._measure(watch)
            except KeyboardInterrupt:
                interrupted = True
        exhausted = not any(state.known.open for state in self.states)
        return TuneReport(
            tuple(self.states),
            self.target,
            self.done,
            self.new,
            self.failed,
            len(self.journal.before.skipped),
            time.monotonic() - self.start,
            tuple(self.curve),
            exhausted and self.done < self.request.trials,
            interrupted,
        )

    def _measure(self, watch: Callable[[Update], None]) -> None:
        request = self.request
        tasks = tuple(state.task for state in self.states)
        setups = [
            Setup(self.target.name, request.toolchain, device, tasks, request.run_seconds)
            for device in self.devices
        ]
        with Pool(setups, request.silence_seconds) as pool:
            while True:
                while pool.idle and (jobs := self._next_jobs()):
                    pool.give(jobs)
                if not pool.busy:
                    return
                for trial in pool.wait(1.0):
                    watch(self._take(trial))

    def _next_jobs(self) -> list[Job]:
        """A batch for one worker, of one task."""
        asked = sum(len(state.known.asked) for state in self.states)
        count = min(BATCH, self.request.trials - self.done - asked)
        open_states = [state for state in self.states if state.known.open]
        if count <= 0 or not open_states:
            return []
        self._train()
        state = max(open_states, key=_potential)
        known = self._restricted(state)
        chosen = propose(known, count, self.request.search, self.generator, self.model)
        if not chosen:
            chosen = propose(state.known, count, self.request.search, self.generator, self.model)
        jobs = []
        for at in chosen:
            job = Job(len(self.jobs), self.states.index(state), state.known.space.configs[at])
            self.jobs[job.id] = (job.task, at)
            state.known.asked.add(at)
            jobs.append(job)
        return jobs

    def _restricted(self, state: TaskState) -> Known:
        """``balanced`` may need the best config with few constants as much as the best of all: each
        second batch looks for that."""
        known = state.known
        if self.request.objective != "balanced" or state.trials // BATCH % 2 == 0:
            return known
        return Known(known.space, known.space.small, known.scores, known.asked)

    def _train(self) -> None:
        if self.request.search != "model":
            return
        measured = sum(len(state.known.scores) for state in self.states)
        if measured < _TRAIN_FROM or measured - self.trained_at < _TRAIN_EVERY:
            return
        from utvm.tune.cost_model import train  # only this search needs it, and it loads slowly

        self.trained_at = measured
        groups = []
        for state in self.states:
            scores = state.known.scores
            groups.append((state.known.space.features[list(scores)], list(scores.values())))
        if any(len(scores) > 1 for _, scores in groups):
            self.model = train(groups)

    def _take(self, trial: Trial) -> Update:
        task, at = self.jobs[trial.id]
        state = self.states[task]
        state.known.asked.discard(at)
        state.new_trials += 1
        self.done += 1
        self.new += 1
        self.failed += trial.status != OK
        seconds = time.monotonic() - self.start
        record = Record(
            state.task.workload.key,
            self.target.name,
            self.toolchain,
            self.devices[0].name,
            state.known.space.configs[at],
            trial.status,
            trial.cycles,
            trial.code_bytes,
            trial.constant_bytes,
            self.done,
            trial.seconds,
            printable(state.task.workload.about, 400),
            printable(trial.detail, 200),
            self.before_seconds + seconds,
        )
        self.journal.append(record)
        self._learn(state, at, record)
        return Update(record, self.done, self.request.trials, self.new, seconds, self.total())


def _tried(state: TaskState, record: Record, total: int) -> int | None:
    """What the network would take with the schedule of a trial."""
    if record.status != OK or state.best is None:
        return None
    return total + (record.cycles - state.best) * state.task.calls


def _potential(state: TaskState) -> float:
    """Each task gets trials in proportion to the cycles it stands for; one with nothing measured is
    first, unless all that was tried of it failed."""
    tried = len(state.known.scores) + len(state.known.asked)
    if state.best is None:
        return inf if tried < 2 * BATCH else 1.0 / (1 + tried)
    return state.weight / (1 + tried)
