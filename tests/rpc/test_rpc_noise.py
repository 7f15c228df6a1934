"""Sessions over streams that lose, double, flip and split bytes: every call runs exactly once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import PATIENCE_SECONDS
from tests.rpc.noise import NoisyStream
from utvm.device.rpc_client import RpcSession
from utvm.device.session import DeviceTensor
from utvm.device.stream_process import ProcessStream

SHARED = (HealthCheck.function_scoped_fixture, HealthCheck.too_slow)


@settings(max_examples=25, deadline=None, suppress_health_check=SHARED)
@given(seed=st.integers(0, 2**32), rate=st.sampled_from([0.0, 0.001, 0.003, 0.006]))
def test_every_call_runs_once(connect: Callable[[], ProcessStream], seed: int, rate: float) -> None:
    noisy = NoisyStream(connect(), seed, rate)
    with RpcSession(noisy, timeout_seconds=PATIENCE_SECONDS, retry_seconds=0.005) as session:
        address = session.allocate(4)
        session.write(address, bytes(4))
        increment = session.function("increment")
        cell = DeviceTensor(address, (4,), np.dtype(np.uint8))
        for count in range(1, 31):
            session.call(increment, [cell])
            if count % 3 == 0:
                assert session.read(address, 4) == bytes((count,) * 4)
        noisy.quiet = True
        statistics = session.statistics()
        assert statistics.calls == 30
        assert rate > 0 or statistics.damaged_frames == 0


def test_noise_is_seen_and_survived(connect: Callable[[], ProcessStream]) -> None:
    noisy = NoisyStream(connect(), seed=1, rate=0.01)
    with RpcSession(noisy, timeout_seconds=PATIENCE_SECONDS, retry_seconds=0.005) as session:
        address = session.allocate(1000)
        data = bytes(range(250)) * 4
        for at in range(0, 1000, 50):
            session.write(address + at, data[at : at + 50])
            session.flush()
        noisy.quiet = True
        assert session.read(address, 1000) == data
        assert noisy.damaged > 10
        assert session.statistics().damaged_frames > 0
