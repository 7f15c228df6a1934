"""What a meter says of candidates: good, wrong, faulting, hanging ones; and the pool of workers."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from tests.conftest import PATIENCE_SECONDS
from tests.tune.networks import TARGET, network_tasks
from utvm.ir.dtype import DType
from utvm.ir.loop import Cast, For, Function, Imm, Load, Stmt, Store, Var, loop
from utvm.schedule.conv_kernel import Scheduled
from utvm.schedule.knobs import Option
from utvm.schedule.records import Config
from utvm.support.errors import DeviceError, InputError, ScheduleError
from utvm.target.target import load_target
from utvm.tune import pool as pool_module
from utvm.tune.devices import find_devices
from utvm.tune.measure import Job, Meter, Setup, Trial
from utvm.tune.pool import Pool
from utvm.tune.tasks import Task


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> tuple[Task, ...]:
    return tuple(network_tasks(tmp_path_factory.mktemp("network")))


def _setup(tasks: tuple[Task, ...], seconds: float = 0.5) -> Setup:
    (device,) = find_devices(["emulator*1"], load_target(TARGET), None)
    return Setup(TARGET, None, device, tasks, seconds)


@pytest.fixture(scope="module")
def meter(tasks: tuple[Task, ...], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Meter]:
    meter = Meter(_setup(tasks), tmp_path_factory.mktemp("meter"))
    yield meter
    meter.close()


def _configs(task: Task) -> list[Config]:
    return list(task.options(load_target(TARGET)))


def _with(
    meter: Meter, tasks: tuple[Task, ...], change: Callable[[Function], tuple[Stmt, ...]]
) -> Trial:
    """A trial of a kernel with another body."""
    config, option = next(iter(tasks[0].options(load_target(TARGET)).items()))

    def build() -> Scheduled:
        scheduled = option.build()
        assert scheduled is not None
        function = scheduled.function
        return replace(scheduled, function=replace(function, body=change(function)))

    return _measured_as(meter, config, replace(option, build=build))


def _measured_as(meter: Meter, config: Config, option: Option) -> Trial:
    meter._options[0] = {config: option}
    try:
        return meter.measure(Job(1, 0, config))
    finally:
        del meter._options[0]


def _skipped(function: Function) -> tuple[Stmt, ...]:
    """The body in a loop that is never run."""
    return (For(Var("never"), Imm(0), Imm(0), function.body),)


def _is_well(meter: Meter, tasks: tuple[Task, ...]) -> bool:
    return meter.measure(Job(2, 0, _configs(tasks[0])[0])).status == "ok"


def test_figures_are_the_same_every_time(meter: Meter, tasks: tuple[Task, ...]) -> None:
    for at, task in enumerate(tasks):
        for config in _configs(task)[:3]:
            first, second = (meter.measure(Job(3, at, config)) for _ in range(2))
            assert first.status == "ok"
            assert first.cycles > 500 and first.code_bytes > 100 and first.constant_bytes > 0
            assert replace(first, seconds=0) == replace(second, seconds=0)


def test_a_wrong_kernel_is_inexact(meter: Meter, tasks: tuple[Task, ...]) -> None:
    def change(function: Function) -> tuple[Stmt, ...]:
        (out,) = function.outputs
        last = tuple(Imm(size - 1) for size in out.shape)
        value = Cast(out.dtype, Load(out, last) + Imm(1, out.dtype))
        return (*function.body, Store(out, last, value))

    trial = _with(meter, tasks, change)
    assert (trial.status, trial.cycles, trial.code_bytes) == ("inexact", 0, 0), trial.detail
    assert "[0,5,5,3]: expected" in trial.detail


def test_a_kernel_that_does_nothing_is_inexact(meter: Meter, tasks: tuple[Task, ...]) -> None:
    assert _is_well(meter, tasks)  # whose right results lie in memory now
    assert _with(meter, tasks, _skipped).status == "inexact"


def test_a_faulting_kernel_costs_one_trial(meter: Meter, tasks: tuple[Task, ...]) -> None:
    def change(function: Function) -> tuple[Stmt, ...]:
        (out,) = function.outputs
        flat = out.view(out.elements)
        return (*function.body, Store(flat, (Imm(0x70000000),), Imm(1, out.dtype)))

    trial = _with(meter, tasks, change)
    assert trial.status == "fault", trial.detail
    assert "bus fault" in trial.detail
    assert _is_well(meter, tasks)


def test_a_hanging_kernel_costs_one_trial(meter: Meter, tasks: tuple[Task, ...]) -> None:
    def change(function: Function) -> tuple[Stmt, ...]:
        (out,) = function.outputs
        flat = out.view(out.elements)
        chain = Store(flat, (Imm(0),), Load(flat, (Imm(1),)) + Load(flat, (Imm(0),)))
        again = Store(flat, (Imm(1),), Load(flat, (Imm(0),)) + Imm(3, DType.INT8))
        inner = For(Var("j"), Imm(0), Imm(1 << 30), (chain, again))
        return (*function.body, loop(Var("i"), 1 << 30, inner))

    trial = _with(meter, tasks, change)
    assert trial.status == "timeout", trial.detail
    assert _is_well(meter, tasks)


def test_a_template_that_breaks_costs_one_trial(meter: Meter, tasks: tuple[Task, ...]) -> None:
    config = _configs(tasks[0])[0]

    def refuses() -> Scheduled | None:
        raise ScheduleError("a block without filters")

    def breaks() -> Scheduled | None:
        raise IndexError("list index out of range")

    for build, detail in (
        (refuses, "a block without filters"),
        (breaks, "IndexError: list index out of range"),
        (lambda: None, "the template does not take this kernel"),
    ):
        trial = _measured_as(meter, config, Option(1.0, 1, build, config))
        assert (trial.status, trial.detail) == ("schedule", detail)
    assert _is_well(meter, tasks)


def _drain(pool: Pool) -> list[Trial]:
    trials: list[Trial] = []
    while pool.busy:
        trials += pool.wait(0.2)
    return trials


def _jobs(tasks: tuple[Task, ...], count: int) -> list[Job]:
    return [Job(at, 0, config) for at, config in enumerate(_configs(tasks[0])[:count])]


@pytest.fixture
def stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that measure job 1 for ever, so that it is known where they are."""
    program, call = pool_module._PROGRAM.rsplit(" ", 1)
    change = "Meter.measure = lambda self, job: wait() if job.id == 1 else measure(self, job);"
    names = "from signal import pause as wait; from utvm.tune.measure import Meter;"
    monkeypatch.setattr(
        pool_module, "_PROGRAM", f"{program} {names} measure = Meter.measure; {change} {call}"
    )


def _wait_until_stuck(pool: Pool) -> tuple[list[Trial], int]:
    """The trials before job 1, and the process that has begun with it."""
    trials: list[Trial] = []
    (worker,) = pool._workers.values()
    while worker.running != 1:
        trials += pool.wait(30.0)
    return trials, worker.child.pid


@pytest.mark.usefixtures("stuck")
def test_a_worker_that_dies_costs_one_trial(tasks: tuple[Task, ...]) -> None:
    with Pool([_setup(tasks)], PATIENCE_SECONDS) as pool:
        pool.give(_jobs(tasks, 4))
        trials, pid = _wait_until_stuck(pool)
        os.kill(pid, signal.SIGKILL)
        trials += _drain(pool)
        assert pool.restarts == 1
    assert {trial.id: trial.status for trial in trials} == {0: "ok", 1: "lost", 2: "ok", 3: "ok"}


@pytest.mark.usefixtures("stuck")
def test_a_worker_that_says_nothing_is_replaced(tasks: tuple[Task, ...]) -> None:
    with Pool([_setup(tasks)], PATIENCE_SECONDS) as pool:
        pool.give(_jobs(tasks, 3))
        trials, _ = _wait_until_stuck(pool)
        pool._silence = 0.5
        while pool.restarts == 0:
            trials += pool.wait(0.2)
        pool._silence = PATIENCE_SECONDS
        trials += _drain(pool)
    assert {trial.id: trial.status for trial in trials} == {0: "ok", 1: "timeout", 2: "ok"}


def test_two_workers_share_the_jobs(tasks: tuple[Task, ...]) -> None:
    with Pool([_setup(tasks)] * 2, PATIENCE_SECONDS) as pool:
        assert pool.idle == 2
        for jobs in (_jobs(tasks, 4)[:2], _jobs(tasks, 4)[2:]):
            pool.give(jobs)
        assert pool.idle == 0
        trials = _drain(pool)
    assert sorted(trial.id for trial in trials) == [0, 1, 2, 3]
    assert {trial.status for trial in trials} == {"ok"}


def test_a_device_that_never_begins_is_given_up(tasks: tuple[Task, ...]) -> None:
    setup = replace(_setup(tasks), toolchain="no-such-compiler")
    with Pool([setup], PATIENCE_SECONDS) as pool:
        pool.give(_jobs(tasks, 1))
        with pytest.raises(DeviceError, match="no program _no-such-compiler_ is"):
            while True:  # at the latest, the pool's patience ends
                pool.wait(1.0)


@pytest.mark.parametrize(
    ("names", "board", "text"),
    [
        (["emulator*0"], None, "no number of devices"),
        (["emulator*x"], None, "no number of devices"),
        (["openocd*2"], "nucleo_l4r5zi", "no number of devices"),
        (["openocd"], None, "needs --board"),
        (["serial:/dev/ttyACM0"], "nucleo_l4r5zi", "cannot put kernels into a device's RAM"),
        (["telnet"], None, "unknown transport"),
        (["openocd"], "emu_cortex_m4", "does not reach this board"),
        (["emulator", "qemu"], None, "several kinds cannot tune together"),
    ],
)
def test_devices_that_are_refused(names: list[str], board: str | None, text: str) -> None:
    with pytest.raises(InputError, match=text):
        find_devices(names, load_target(TARGET), board)


def test_devices_by_name() -> None:
    target = load_target(TARGET)
    assert [d.name for d in find_devices(["emulator*2", "emulator"], target, None)] == [
        "emulator"
    ] * 3
    assert find_devices(["qemu"], target, None)[0].board == "mps2_an386"
    (probe,) = find_devices(["openocd"], target, "nucleo_l4r5zi")
    assert (probe.name, str(probe.transport)) == ("nucleo_l4r5zi", "openocd")
