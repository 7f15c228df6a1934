"""A GDB server for tests, as a ``ByteStream``: it answers in the same call in which it is asked.

In: what it is to be like: which features it has, what it answers instead, what happens to the
bytes of its answers. Out: memory, registers and all questions, to look at. There is no core: one
that is let run stops at once where a breakpoint is, or runs until it is interrupted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from utvm.device.gdb_packet import PacketReader, frame
from utvm.device.session import StreamClosedError

REGISTERS = [f"r{n}" for n in range(13)] + ["sp", "lr", "pc", "xpsr"]
TARGET = (
    b'<?xml version="1.0"?><!DOCTYPE target SYSTEM "gdb-target.dtd"><target>'
    b'<architecture>arm</architecture><xi:include href="core.xml"/></target>'
)
CORE = (
    b'<?xml version="1.0"?><feature name="org.gnu.gdb.arm.m-profile">'
    + b"".join(b'<reg name="%b" bitsize="32"/>' % name.encode() for name in REGISTERS[:-1])
    + b'<reg name="xPSR" bitsize="32" regnum="25"/></feature>'
)


class GdbServer:
    """``instead`` maps the beginning of a question to an answer; ``spoil`` changes answers."""

    def __init__(
        self,
        features: bytes = b"PacketSize=100;qXfer:features:read+",
        instead: Mapping[bytes, bytes | None] | None = None,
        spoil: Callable[[bytes], bytes] = lambda data: data,
        size_bytes: int = 4096,
    ) -> None:
        self.memory = bytearray(size_bytes)
        self.registers = [0] * 17
        self.questions: list[bytes] = []
        self.breakpoints: set[int] = set()
        self.bytes_of_text = 0
        self.closed = False
        self._features = features
        self._instead = dict(instead or {})
        self._spoil = spoil
        self._reader = PacketReader()
        self._acks = True
        self._out = b""
        self._last = b""

    def read(self, deadline: float) -> bytes:
        if self.closed:
            raise StreamClosedError("the stream is closed", where="test")
        data, self._out = self._out, b""
        return data

    def write(self, data: bytes, deadline: float) -> None:
        if self.closed:
            raise StreamClosedError("the stream is closed", where="test")
        if data == b"\x03":
            self._say(frame(b"T02"))
            return
        if data == b"-":
            self._say(self._last)
        for event in self._reader.feed(data):
            if isinstance(event, bytes):
                self._take(event)

    def close(self) -> None:
        self.closed = True

    def _say(self, packet: bytes) -> None:
        self._out += self._spoil(packet)

    def _take(self, question: bytes) -> None:
        self.questions.append(question)
        if self._acks:
            self._out += b"+"
        answer = self._find(question)
        if answer is not None:
            self._last = frame(answer)
            self._say(self._last)

    def _find(self, question: bytes) -> bytes | None:
        for beginning, answer in self._instead.items():
            if question.startswith(beginning):
                return answer
        return self._answer(question)

    def _answer(self, question: bytes) -> bytes | None:
        head = question[:1]
        if question.startswith(b"qSupported"):
            return self._features
        if question == b"QStartNoAckMode":
            self._acks = False
            return b"OK"
        if question.startswith(b"qXfer:features:read:"):
            return self._document(question.split(b":")[3:])
        if head == b"?":
            return b"T05thread:01;"
        if head in b"mMX":
            return self._memory(head, question[1:])
        if head in b"pPgG":
            return self._register(head, question[1:])
        if head in b"zZ":
            address = int(question.split(b",")[1], 16)
            (self.breakpoints.add if head == b"Z" else self.breakpoints.discard)(address)
            return b"OK"
        if head == b"c":
            if not self.breakpoints:
                return None
            self.registers[15] = min(self.breakpoints)
            return b"S05"
        return b"OK" if head == b"D" else b""

    def _document(self, parts: list[bytes]) -> bytes:
        text = {b"target.xml": TARGET, b"core.xml": CORE}.get(parts[0])
        if text is None:
            return b"E00"
        at, count = (int(part, 16) for part in parts[1].split(b","))
        return (b"m" if at + count < len(text) else b"l") + text[at : at + count]

    def _memory(self, head: bytes, rest: bytes) -> bytes:
        place, _, data = rest.partition(b":")
        at, count = (int(part, 16) for part in place.split(b","))
        if at + count > len(self.memory):
            return b"E14"
        if head == b"m":
            return self.memory[at : at + count].hex().encode()
        data = bytes.fromhex(data.decode()) if head == b"M" else data
        assert len(data) == count
        self.memory[at : at + count] = data
        return b"OK"

    def _register(self, head: bytes, rest: bytes) -> bytes:
        if head == b"g":
            return b"".join(value.to_bytes(4, "little").hex().encode() for value in self.registers)
        if head == b"G":
            raw = bytes.fromhex(rest.decode())
            assert len(raw) == 4 * len(self.registers)
            self.registers = [
                int.from_bytes(raw[at : at + 4], "little") for at in range(0, len(raw), 4)
            ]
            return b"OK"
        number, _, value = rest.partition(b"=")
        index = min(int(number, 16), 16)
        if head == b"p":
            return self.registers[index].to_bytes(4, "little").hex().encode()
        self.registers[index] = int.from_bytes(bytes.fromhex(value.decode()), "little")
        return b"OK"
