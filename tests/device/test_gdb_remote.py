"""The GDB client against servers of every kind: plain, reduced, damaged, hostile.

A server that lacks something is worked around, one that says nonsense is a named error, and no
bytes whatsoever make anything but a ``DeviceError``, in bounded memory.
"""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.device.gdb_server import CORE, REGISTERS, TARGET, GdbServer
from utvm.device.gdb_packet import MAX_PACKET_BYTES, Mark, PacketReader, frame
from utvm.device.gdb_registers import described_registers
from utvm.device.gdb_remote import GdbRemote, Stop
from utvm.device.memory_access import AccessFaultError
from utvm.device.session import DeviceTimeoutError, ProtocolError, StreamClosedError
from utvm.support.errors import DeviceError

SOON = 0.01


def connected(server: GdbServer) -> GdbRemote:
    remote = GdbRemote(server, "board", answer_seconds=SOON)
    remote.connect()
    return remote


# Packets


@given(st.binary(max_size=200), st.lists(st.integers(1, 50)))
def test_packets_come_back_however_they_are_cut(payload: bytes, cuts: list[int]) -> None:
    reader, data, events = PacketReader(), b"+" + frame(payload) + b"noise-", []
    for cut in [*cuts, len(data)]:
        events += reader.feed(data[:cut])
        data = data[cut:]
    assert events == [Mark.ACK, payload, Mark.NACK]


@pytest.mark.parametrize(
    ("data", "events"),
    [
        (b"$0* #7a", [b"0000"]),  # the manual's example: a run of four
        (b"$ab}\x03#43", [b"ab#"]),
        (b"$OK#9b", [Mark.DAMAGED]),
        (b"$OK#zz", [Mark.DAMAGED]),
        (b"$* #4a", [Mark.DAMAGED]),  # a run of nothing
        (b"$0*\x10#6a", [Mark.DAMAGED]),  # a run of less than nothing
        (b"$}#7d", [Mark.DAMAGED]),
        (b"%Stop:T05#00$OK#9a", [b"OK"]),  # a notification answers nothing
        (b"$" + b"0" * MAX_PACKET_BYTES, [Mark.TOO_LONG]),
    ],
)
def test_packets_are_taken_apart(data: bytes, events: list[object]) -> None:
    assert PacketReader().feed(data) == events


def test_runs_cannot_fill_the_memory() -> None:
    body = b"0" + b"*~" * (MAX_PACKET_BYTES // 90)
    assert PacketReader().feed(b"$%b#%02x" % (body, sum(body) % 256)) == [Mark.TOO_LONG]


# Registers


def test_registers_follow_the_description() -> None:
    remote = connected(GdbServer())
    assert list(remote.registers) == REGISTERS
    assert remote.registers["xpsr"].number == 25
    assert remote.registers["xpsr"].offset == 64


def test_registers_of_risc_v_have_their_names_of_the_abi() -> None:
    text = b"<target>" + b"".join(b'<reg name="x%d" bitsize="32"/>' % n for n in range(32))
    registers = described_registers(lambda name: text + b"</target>", "board")
    assert [registers[name].number for name in ("ra", "sp", "fp", "a0", "a7", "s11", "t6")] == [
        *(1, 2, 8, 10, 17, 27, 31)
    ]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b"<target", "a document that is no XML"),
        (b'<?xml version="1.0" encoding="nope"?><target/>', "a document that is no XML"),
        (b'<!DOCTYPE t [<!ENTITY a "b">]><target/>', "entities"),
        (b'<target><xi:include href="target.xml"/></target>', "documents without end"),
        (b'<target><reg name="a" bitsize="x"/></target>', "numbers of a register that are none"),
        (b'<target><reg name="a" bitsize="99999"/></target>', "a register that cannot be"),
        (b'<target><reg name="a" bitsize="32" regnum="-1"/></target>', "a register that cannot be"),
    ],
)
def test_descriptions_that_make_no_sense(text: bytes, found: str) -> None:
    with pytest.raises(ProtocolError) as error:
        described_registers(lambda name: text, "board")
    assert str(error.value) == (
        f"board: the GDB server's target description makes no sense; found {found}"
    )


@given(st.lists(st.sampled_from([*TARGET.split(b"<"), *CORE.split(b"<"), b"\xff", b"&a;"])))
def test_any_description_is_registers_or_an_error(parts: list[bytes]) -> None:
    try:
        registers = described_registers(lambda name: b"<".join(parts), "board")
    except ProtocolError:
        return
    assert len(registers) <= 5000


def test_an_unknown_register_is_named() -> None:
    with pytest.raises(AccessFaultError, match=r"board: there is no register 'r99'; found r0, r1,"):
        connected(GdbServer()).read_register("r99")


# Servers that can do more or less

EVERY_SERVER = {
    "plain": GdbServer,
    "no acknowledgements": lambda: GdbServer(b"QStartNoAckMode+;PacketSize=200"),
    "says nothing": lambda: GdbServer(b""),
    "no binary writes": lambda: GdbServer(instead={b"X": b""}),
    "only all registers": lambda: GdbServer(instead={b"p": b"", b"P": b""}),
    "tiny packets": lambda: GdbServer(b"PacketSize=1"),
    "huge packets": lambda: GdbServer(b"PacketSize=ffffffffff"),
}


@pytest.mark.parametrize("kind", EVERY_SERVER)
def test_memory_and_registers(kind: str) -> None:
    server = EVERY_SERVER[kind]()
    remote = connected(server)
    data = bytes(range(256)) * 9 + b"}#$*"
    remote.write_memory(5, data)
    assert server.memory[5 : 5 + len(data)] == data
    assert remote.read_memory(5, len(data)) == data
    assert remote.read_memory(5, 0) == b""
    remote.write_memory(7, b"")
    names = ["r0", "r7", "pc"] if kind == "says nothing" else REGISTERS
    for value, name in enumerate(names):
        remote.write_register(name, (1 << 32) + 0x10203040 + value)
    for value, name in enumerate(names):
        assert remote.read_register(name) == 0x10203040 + value
    longest = max(len(question) for question in server.questions)
    assert longest <= (64 if kind == "tiny packets" else 1 << 16)


def test_run_stop_interrupt_and_leave() -> None:
    server = GdbServer()
    remote = connected(server)
    remote.set_breakpoint(0x100)
    remote.resume()
    assert remote.wait_stop(time.monotonic() + SOON) == Stop(5, "S05")
    remote.clear_breakpoint(0x100)
    remote.resume()
    assert remote.wait_stop(time.monotonic()) is None
    remote.interrupt()
    assert remote.wait_stop(time.monotonic() + SOON) == Stop(2, "T02")
    remote.detach()
    assert server.questions[-4:] == [b"Z0,100,2", b"c", b"z0,100,2", b"c", b"D"][-4:]
    remote.kill()
    assert server.questions[-1] == b"k"
    remote.close()
    with pytest.raises(StreamClosedError):
        remote.read_register("pc")


def test_what_the_program_says_is_no_stop_and_an_end_is() -> None:
    server = GdbServer(instead={b"c": b"W00"})
    remote = connected(server)
    server._say(frame(b"O6869"))
    remote.resume()
    assert remote.wait_stop(time.monotonic() + SOON) == Stop(None, "W00")


def test_commands_of_the_server_answer_with_text() -> None:
    command = b"qRcmd," + b"reset halt".hex().encode()
    assert connected(GdbServer(instead={command: b"OK"})).monitor("reset halt") == ""
    assert connected(GdbServer(instead={command: b"6869"})).monitor("reset halt") == "hi"
    with pytest.raises(AccessFaultError, match="the GDB server refuses 'reset halt'; found a serv"):
        connected(GdbServer(instead={command: b""})).monitor("reset halt")


# Damage and nonsense


def test_damaged_answers_are_asked_for_again() -> None:
    spoiled = []

    def spoil(data: bytes) -> bytes:
        spoiled.append(data)
        return data if len(spoiled) % 3 == 0 else data[:-1] + b"?"

    assert connected(GdbServer(spoil=spoil)).read_memory(0, 300) == bytes(300)


def test_damage_that_stays_is_an_error_and_the_end() -> None:
    server = GdbServer(spoil=lambda data: data.replace(b"T05", b"T06"))
    with pytest.raises(ProtocolError, match=r"expected a packet; found a packet whose checksum"):
        connected(server)
    assert server.closed


NONSENSE = [
    (b"m", b"E01", "memory cannot be read: 4 bytes at 0x00000000; found error E01"),
    (b"m", b"", "memory cannot be read: 4 bytes at 0x00000000; found a server that cannot do that"),
    (b"m", b"0", "expected hexadecimal digits; found 0; hint: is it a GDB server?"),
    (b"m", b"00" * 5, "expected 4 bytes of memory; found 0000000000"),
    (b"m", b"xxxx", "expected hexadecimal digits; found xxxx"),
    (b"p", b"E.no such", "register r0 cannot be read; found error E.no such"),
    (b"p", b"00", "expected 4 bytes of register r0; found 00"),
    (b"P", b"E02", "register r0 cannot be written; found error E02"),
    (b"P", b"yes", "expected OK; found yes"),
    (b"X", b"yes", "memory cannot be written: 1 bytes at 0x00000000; found error E05"),
    (b"Z", b"E03", "the breakpoint at 0x00000010 cannot be set; found error E03"),
    (b"z", b"", "the breakpoint at 0x00000010 cannot be cleared; found a server that cannot"),
    (b"?", b"hello", "expected why the core has halted; found hello"),
    (b"?", b"T\x1b[", "expected a hexadecimal number; found _["),
    (b"qSupported", b"PacketSize=-1", "expected a hexadecimal number; found -1"),
    (b"qXfer", b"E00", "the GDB server does not give its description target.xml; found error E00"),
    (b"qXfer", b"m", "expected a part of the target description; found m"),
    (b"qXfer", b"m<a>", "expected a target description with an end; found nothing"),
]


def use_all(remote: GdbRemote) -> None:
    """Everything that the client can ask."""
    remote.connect()
    remote.read_memory(0, 4)
    remote.read_register("r0")
    remote.write_register("r0", 1)
    remote.write_memory(0, b"1")
    remote.set_breakpoint(0x10)
    remote.resume()
    remote.wait_stop(time.monotonic())
    remote.clear_breakpoint(0x10)
    remote.monitor("reset halt")
    remote.interrupt()
    remote.wait_stop(time.monotonic())
    remote.detach()


@pytest.mark.parametrize(("question", "answer", "text"), NONSENSE)
def test_nonsense_and_refusals_are_named(question: bytes, answer: bytes, text: str) -> None:
    instead = {question: answer, b"M": b"E05"}
    server = GdbServer(b"PacketSize=2000;qXfer:features:read+", instead)
    with pytest.raises(DeviceError) as error:
        use_all(GdbRemote(server, "board", answer_seconds=SOON))
    assert text in str(error.value)
    assert str(error.value).startswith("board: ")


def test_silence_is_a_timeout_and_the_end() -> None:
    server = GdbServer(instead={b"m": None})
    remote = connected(server)
    with pytest.raises(DeviceTimeoutError) as error:
        remote.read_memory(0, 4)
    assert str(error.value) == (
        "board: the GDB server does not answer; expected an answer within 0.01 s; "
        "hint: is it a GDB server, and is no other debugger connected?"
    )
    assert server.closed


class Parrot(GdbServer):
    """Answers with given bytes, whatever is asked, again and again."""

    def __init__(self, answers: list[bytes]) -> None:
        super().__init__()
        self.answers = answers
        self.reads = 0

    def write(self, data: bytes, deadline: float) -> None:
        pass

    def read(self, deadline: float) -> bytes:
        if self.closed or self.reads > 2000:
            raise StreamClosedError("the stream has ended", where="test")
        self.reads += 1
        return self.answers[self.reads % len(self.answers)] if self.answers else b""


SOME_PACKETS = [
    *(b"OK", b"", b"E01", b"T05", b"S02", b"W00", b"00000000", b"l<target/>", b"m<reg/>"),
    *(b"O6869", b"F1", b"PacketSize=20;qXfer:features:read+", b"sstepbits"),
]


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=30),
            st.sampled_from([b"+", b"-", b"+-$"]),
            st.sampled_from(SOME_PACKETS).map(frame),
            st.sampled_from(SOME_PACKETS).map(lambda payload: b"+" + frame(payload)),
        ),
        max_size=20,
    )
)
def test_any_bytes_end_in_a_named_error_or_not_at_all(answers: list[bytes]) -> None:
    try:
        use_all(GdbRemote(Parrot(answers), "board", answer_seconds=SOON))
    except DeviceError as error:
        assert str(error).isprintable()


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from(b"mMXpPgGzZcDq?Q"), st.sampled_from(SOME_PACKETS)))
def test_any_answers_end_in_a_named_error_or_not_at_all(answers: dict[int, bytes]) -> None:
    instead = {bytes((head,)): answer for head, answer in answers.items()}
    try:
        use_all(GdbRemote(GdbServer(instead=instead), "board", answer_seconds=SOON))
    except DeviceError as error:
        assert str(error).isprintable()
