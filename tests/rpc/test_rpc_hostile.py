"""The client against devices that answer anything: a result, or a DeviceError by the deadline.

Time passes only when the client waits, or reads: what the devices do takes none, on any machine.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utvm.device import rpc_client, rpc_link
from utvm.device.rpc_client import RpcSession
from utvm.device.rpc_frame import Frame, FrameReader, Kind, encode
from utvm.device.session import DeviceTimeoutError, Function, ProtocolError
from utvm.support.errors import DeviceError

WELCOME = struct.Struct("<iBBBBIIIII")
SECONDS = 0.05


class Clock:
    """In place of the module ``time``."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


CLOCK = Clock()


@pytest.fixture(autouse=True, scope="module")
def clock() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for module in (rpc_client, rpc_link):
            patch.setattr(module, "time", CLOCK)
        yield


class FakeDevice:
    """A stream whose other end is a function from frames to bytes; the clock runs when it waits."""

    def __init__(self, answer: Callable[[Frame], bytes]) -> None:
        self.closed = False
        self._answer = answer
        self._reader = FrameReader()
        self._pending: Iterator[bytes] = iter(())

    def read(self, deadline: float) -> bytes:
        for data in self._pending:
            if data:
                return data
        CLOCK.now = max(CLOCK.now, deadline)
        return b""

    def write(self, data: bytes, deadline: float) -> None:
        self._pending = iter([self._answer(frame) for frame in self._reader.feed(data)])

    def close(self) -> None:
        self.closed = True


def welcome(frame: Frame, payload_bytes: int = 256, status: int = 0, version: int = 2) -> bytes:
    content = WELCOME.pack(status, version, version, version, 0, payload_bytes, 3, 1000, 4096, 4)
    return encode(Frame(Kind.WELCOME, frame.session | 7 << 16, frame.sequence, content))


def device(reply: Callable[[Frame], bytes]) -> FakeDevice:
    return FakeDevice(lambda f: welcome(f) if f.kind == Kind.HELLO else reply(f))


def answer(frame: Frame, payload: bytes) -> bytes:
    return encode(Frame(Kind.REPLY, frame.session, frame.sequence, payload))


def result(content: bytes, status: int = 0, size: int | None = None) -> bytes:
    return struct.pack("<iI", status, len(content) if size is None else size) + content


def open_session(stream: FakeDevice) -> RpcSession:
    return RpcSession(stream, timeout_seconds=SECONDS, retry_seconds=0.01)


@pytest.mark.parametrize(
    ("hello", "message"),
    [
        (lambda f: welcome(f, payload_bytes=63), "makes no sense"),
        (lambda f: welcome(f, payload_bytes=65536), "makes no sense"),
        (lambda f: welcome(f, payload_bytes=2**32 - 1), "makes no sense"),
        (lambda f: welcome(f, version=3), "makes no sense"),
        (
            lambda f: welcome(f, status=-68, version=1),
            "refuses the session; expected protocol version 2; "
            "found TVM_ERROR_RPC_VERSION, versions 1 to 1; hint: build its program anew",
        ),
        (lambda f: encode(Frame(Kind.WELCOME, f.session, 0, b"short")), "cut short"),
        (lambda f: encode(Frame(Kind.WELCOME, f.session ^ 1, 0, bytes(28))), "does not answer"),
        (lambda f: encode(f), "does not answer"),
        (lambda f: encode(f)[:-1], "does not answer"),
        (lambda f: b"", "does not answer"),
    ],
)
def test_bad_welcomes(hello: Callable[[Frame], bytes], message: str) -> None:
    stream = FakeDevice(hello)
    with pytest.raises(DeviceError, match=message):
        open_session(stream)
    assert stream.closed


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (b"", "a result is missing"),
        (b"\0" * 7, "a result is missing"),
        (result(b""), "another size"),
        (result(b"123"), "longer than it may be"),
        (result(b"12", size=2**32 - 1), "longer than it may be"),
        (result(b"1"), "another size"),
        (result(b"12") + b"more", "more results"),
        (result(b"", status=-9), "TVM_ERROR_FUNCTION"),
        (result(b"", status=12345), "status 12345"),
    ],
)
def test_bad_replies(reply: bytes, message: str) -> None:
    session = open_session(device(lambda f: answer(f, reply)))
    with pytest.raises(DeviceError, match=message):
        session.function("f")


def test_replies_of_other_sessions_and_sequences_are_passed_over() -> None:
    def reply(frame: Frame) -> bytes:
        good = result(b"\1\0")
        return b"".join((
            encode(Frame(Kind.REPLY, frame.session ^ 1 << 20, frame.sequence, result(b"\2\0"))),
            encode(Frame(Kind.REPLY, frame.session, frame.sequence - 1, result(b"\3\0"))),
            encode(Frame(Kind.NO_SESSION, frame.session, frame.sequence - 1, b"")),
            encode(Frame(99, frame.session, frame.sequence, result(b"\4\0"))),
            answer(frame, good),
            answer(frame, good),
        ))  # fmt: skip

    session = open_session(device(reply))
    assert [session.function("f").index for _ in range(3)] == [1, 1, 1]


def test_a_device_that_restarts_all_the_time_ends() -> None:
    session = open_session(
        device(lambda f: encode(Frame(Kind.NO_SESSION, f.session, f.sequence, b"")))
    )
    with pytest.raises(DeviceError, match="has restarted"):
        session.function("f")


def test_a_device_that_logs_without_end_ends() -> None:
    room = 256 - 16
    session = open_session(device(lambda f: answer(f, result(bytes(4) + b"x" * (room - 4)))))
    assert len(session.logs()) < 200_000


def test_a_device_that_talks_without_end_meets_the_deadline() -> None:
    class Chatter(FakeDevice):
        def read(self, deadline: float) -> bytes:
            CLOCK.now += SECONDS / 100
            return super().read(0) or encode(Frame(Kind.REPLY, 1, 1, b"chatter"))

    session = open_session(Chatter(lambda f: welcome(f) if f.kind == Kind.HELLO else b""))
    with pytest.raises(DeviceTimeoutError, match="did not answer in time"):
        session.function("f")


def test_a_short_read_is_an_error() -> None:
    session = open_session(device(lambda f: answer(f, result(b"12"))))
    with pytest.raises(ProtocolError, match="another number of bytes"):
        session.read(0, 3)


def test_timings_with_too_few_calls_are_an_error() -> None:
    session = open_session(device(lambda f: answer(f, result(struct.pack("<QQ", 0, 9)))))
    with pytest.raises(ProtocolError, match="another number of calls"):
        session.time(Function("f", 0), [])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(max_size=80) | st.none(), min_size=1, max_size=6), st.integers(0, 5))
def test_any_replies_end_in_a_result_or_an_error(replies: list[bytes | None], kind: int) -> None:
    """None stands for a valid reply with an empty result; others are payloads of any content."""
    script = iter(replies * 3)

    def reply(frame: Frame) -> bytes:
        payload = next(script, b"")
        content = result(b"") if payload is None else payload
        return encode(Frame(kind or Kind.REPLY, frame.session, frame.sequence, content))

    session = open_session(device(reply))
    for ask in (session.logs, session.statistics, session.fault, session.flush, session.reset):
        try:
            ask()
        except DeviceError as error:
            assert str(error)
