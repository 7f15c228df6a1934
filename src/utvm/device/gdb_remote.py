"""A client of the GDB remote serial protocol: memory, registers, breakpoints, run and interrupt.

In: a ``ByteStream`` to a server: QEMU's stub, OpenOCD, pyOCD, a gdbserver. Out: plain methods;
addresses are the device's. The core is halted, unless ``resume`` came last. A server that says
nonsense is a ``ProtocolError``, one that refuses something an ``AccessFaultError``, one that is
silent until the deadline a ``DeviceTimeoutError``, one that goes away a ``StreamClosedError``.
After nonsense and silence the connection is closed, since nobody knows which answer belongs to
which question. A core that runs until a deadline is neither: see ``wait_stop``.

Protocol: the appendix "GDB Remote Serial Protocol" of the GDB manual.
"""

from __future__ import annotations

import binascii
import time
from collections import deque
from dataclasses import dataclass

from utvm.device.gdb_packet import Event, Mark, PacketReader, frame
from utvm.device.gdb_registers import Register, default_registers, described_registers
from utvm.device.memory_access import AccessFaultError
from utvm.device.session import DeviceTimeoutError, ProtocolError
from utvm.device.stream import ByteStream
from utvm.support.text import printable

ANSWER_SECONDS = 10.0
SOFTWARE, HARDWARE = 0, 1  # kinds of breakpoints
SIGINT, SIGTRAP = 2, 5  # GDB's numbers, which are not the host's

_MAX_DOCUMENT_BYTES = 1 << 18
_LEAST_PACKET_BYTES, _MOST_PACKET_BYTES = 64, 1 << 16
_COMMAND_BYTES = 32  # at most what a memory command needs beside the data
_MAX_RESENDS = 3
_MAX_TEXT_BYTES = 1 << 16  # of what a server says; the end is kept
_INTERRUPT = b"\x03"


@dataclass(frozen=True)
class Stop:
    """Why the core halted: ``signal`` is GDB's number, or None for a program that has ended."""

    signal: int | None
    text: str  # as the server said it


class GdbRemote:
    """A connection. ``connect`` comes first, and finds out the registers."""

    def __init__(
        self, stream: ByteStream, name: str, *, answer_seconds: float = ANSWER_SECONDS
    ) -> None:
        self.name = name
        self.registers = default_registers()
        self.is_qemu = False
        self._stream = stream
        self._answer_seconds = answer_seconds
        self._reader = PacketReader()
        self._events: deque[Event] = deque()
        self._acks = True
        self._packet_bytes = 400  # what GDB assumes of a server that says nothing
        self._binary: bool | None = None  # whether it knows X; asked when first needed

    def connect(self) -> None:
        """Agrees with the server on what both can do, and asks why the core is halted."""
        features = self._ask(b"qSupported:xmlRegisters=arm,riscv").split(b";")
        for feature in features:
            if feature.startswith(b"PacketSize="):
                size = self._integer(feature.removeprefix(b"PacketSize="))
                self._packet_bytes = min(max(size, _LEAST_PACKET_BYTES), _MOST_PACKET_BYTES)
        if b"QStartNoAckMode+" in features and self._ask(b"QStartNoAckMode") == b"OK":
            self._acks = False
        if b"qXfer:features:read+" in features:
            self.registers = described_registers(self._document, self.name)
        self.is_qemu = self._ask(b"qqemu.Supported") != b""
        self._stop(self._ask(b"?"))

    def close(self) -> None:
        """Ends the connection; may be called again. A server that was not told lets it halted."""
        self._stream.close()

    def read_memory(self, address: int, size_bytes: int) -> bytes:
        """Memory as the core sees it."""
        most = (self._packet_bytes - 4) // 2
        data = bytearray()
        while len(data) < size_bytes:
            at, count = address + len(data), min(most, size_bytes - len(data))
            answer = self._ask(b"m%x,%x" % (at, count))
            self._check(answer, f"memory cannot be read: {count} bytes at {at:#010x}")
            part = self._hex(answer)
            if not 0 < len(part) <= count:  # less is allowed
                raise self._nonsense(f"{count} bytes of memory", answer)
            data += part
        return bytes(data)

    def write_memory(self, address: int, data: bytes) -> None:
        """Writes to memory; whether also to flash is the server's affair."""
        if data and self._binary is None:
            self._binary = self._ask(b"X%x,0:" % address) == b"OK"
        most = (self._packet_bytes - _COMMAND_BYTES) // 2  # a byte may take two either way
        for start in range(0, len(data), most):
            at, part = address + start, data[start : start + most]
            head = b"%x,%x:" % (at, len(part))
            command = b"X" + head + part if self._binary else b"M" + head + binascii.hexlify(part)
            self._order(command, f"memory cannot be written: {len(part)} bytes at {at:#010x}")

    def read_register(self, name: str) -> int:
        """The value of a register by its name in the target description."""
        register = self._register(name)
        answer = self._ask(b"p%x" % register.number)
        if not answer:
            return int.from_bytes(self._slice(self._all_registers(), register), "little")
        self._check(answer, f"register {name} cannot be read")
        value = self._hex(answer)
        if len(value) != register.size_bytes:
            raise self._nonsense(f"{register.size_bytes} bytes of register {name}", answer)
        return int.from_bytes(value, "little")

    def write_register(self, name: str, value: int) -> None:
        """Sets a register; ``value`` is taken modulo its size."""
        register = self._register(name)
        data = (value % (1 << 8 * register.size_bytes)).to_bytes(register.size_bytes, "little")
        command = b"P%x=%b" % (register.number, binascii.hexlify(data))
        answer = self._ask(command)
        if answer:
            self._check(answer, f"register {name} cannot be written", ok=True)
            return
        everything = bytearray(self._all_registers())
        self._slice(everything, register)
        everything[register.offset : register.offset + register.size_bytes] = data
        self._order(b"G" + binascii.hexlify(everything), f"register {name} cannot be written")

    def set_breakpoint(self, address: int, kind: int = SOFTWARE, size_bytes: int = 2) -> None:
        """Halts the core before the instruction at ``address``, of ``size_bytes``, runs."""
        what = f"the breakpoint at {address:#010x} cannot be set"
        self._order(b"Z%d,%x,%x" % (kind, address, size_bytes), what)

    def clear_breakpoint(self, address: int, kind: int = SOFTWARE, size_bytes: int = 2) -> None:
        """Undoes ``set_breakpoint``."""
        what = f"the breakpoint at {address:#010x} cannot be cleared"
        self._order(b"z%d,%x,%x" % (kind, address, size_bytes), what)

    def resume(self) -> None:
        """Lets the core run from its pc. Nothing but ``wait_stop`` and ``interrupt`` may follow."""
        self._send(b"c", self._answer_deadline())

    def interrupt(self) -> None:
        """Asks a running core to halt; ``wait_stop`` then says that it has."""
        self._stream.write(_INTERRUPT, self._answer_deadline())

    def wait_stop(self, deadline: float) -> Stop | None:
        """Why the core has halted, or None while it still runs at the deadline."""
        while (packet := self._packet(deadline)) is not None:
            if not (packet.startswith(b"O") and packet != b"OK"):  # output of the program
                return self._stop(packet)
        return None

    def monitor(self, command: str) -> str:
        """A command of the server's own, and what it said."""
        packet = self._ask(b"qRcmd," + binascii.hexlify(command.encode()))
        text = bytearray()
        deadline = self._answer_deadline()
        while packet.startswith(b"O") and packet != b"OK":
            text += self._hex(packet[1:])
            del text[:-_MAX_TEXT_BYTES]
            packet = self._answer(deadline)
        self._check(packet, f"the GDB server refuses '{printable(command)}'")
        if packet != b"OK":
            text += self._hex(packet)
        return text.decode("utf-8", "replace")

    def detach(self) -> None:
        """Takes leave: the core runs on from where it is."""
        self._order(b"D", "the GDB server does not let go")

    def kill(self) -> None:
        """Ends what the server runs, often the server itself; there is no answer to it."""
        self._send(b"k", self._answer_deadline(), acknowledged=False)

    # Registers

    def _register(self, name: str) -> Register:
        register = self.registers.get(name)
        if register is None:
            raise AccessFaultError(
                f"there is no register '{printable(name)}'",
                where=self.name,
                found=printable(", ".join(self.registers), 200),
            )
        return register

    def _all_registers(self) -> bytes:
        answer = self._ask(b"g")
        self._check(answer, "the registers cannot be read")
        return self._hex(answer)

    def _slice(self, everything: bytes | bytearray, register: Register) -> bytes:
        value = everything[register.offset : register.offset + register.size_bytes]
        if len(value) != register.size_bytes:
            raise self._nonsense(f"register {register.name}", f"{len(everything)} bytes".encode())
        return bytes(value)

    def _document(self, name: str) -> bytes:
        """A document of the target description; it comes in pieces."""
        text = bytearray()
        asked = printable(name).encode()
        piece = self._packet_bytes - 8
        while len(text) < _MAX_DOCUMENT_BYTES:
            answer = self._ask(b"qXfer:features:read:%b:%x,%x" % (asked, len(text), piece))
            self._check(answer, f"the GDB server does not give its description {asked.decode()}")
            if answer[:1] not in (b"l", b"m") or answer == b"m":
                raise self._nonsense("a part of the target description", answer)
            text += answer[1:]
            if answer.startswith(b"l"):
                return bytes(text)
        raise self._nonsense("a target description with an end", b"")

    # Questions and answers

    def _answer_deadline(self) -> float:
        return time.monotonic() + self._answer_seconds

    def _ask(self, payload: bytes) -> bytes:
        """The answer to a question; an empty one means that the server does not know it."""
        deadline = self._answer_deadline()
        self._send(payload, deadline)
        return self._answer(deadline)

    def _order(self, payload: bytes, what: str) -> None:
        """Something that is answered with OK; ``what`` says what a refusal means."""
        self._check(self._ask(payload), what, ok=True)

    def _send(self, payload: bytes, deadline: float, *, acknowledged: bool = True) -> None:
        packet = frame(payload)
        for _ in range(_MAX_RESENDS + 1):
            self._stream.write(packet, deadline)
            if not (self._acks and acknowledged):
                return
            while (event := self._event(deadline)) not in (Mark.ACK, Mark.NACK):
                if event is None:
                    raise self._silence()
                # What comes before the acknowledgement answers nothing that was asked.
            if event is Mark.ACK:
                return
        raise self._nonsense("a packet to be acknowledged", b"-")

    def _answer(self, deadline: float) -> bytes:
        packet = self._packet(deadline)
        if packet is None:
            raise self._silence()
        return packet

    def _packet(self, deadline: float) -> bytes | None:
        """The next packet, acknowledged; a damaged one is asked for again, where that is agreed."""
        damaged = 0
        while (event := self._event(deadline)) is not None:
            if isinstance(event, bytes):
                if self._acks:
                    self._stream.write(b"+", self._answer_deadline())
                return event
            if event is Mark.DAMAGED and self._acks and damaged < _MAX_RESENDS:
                damaged += 1
                self._stream.write(b"-", self._answer_deadline())
            elif event in (Mark.DAMAGED, Mark.TOO_LONG):
                raise self._nonsense("a packet", event.value.encode())
        return None

    def _event(self, deadline: float) -> Event | None:
        while not self._events:
            data = self._stream.read(deadline)
            if not data:
                return None
            self._events.extend(self._reader.feed(data))
        return self._events.popleft()

    # What answers mean

    def _check(self, answer: bytes, what: str, *, ok: bool = False) -> None:
        """Refuses an error, and with ``ok`` everything that is not OK."""
        # Hexadecimal data has an even length, so E01 is none.
        if (answer.startswith(b"E") and len(answer) == 3) or answer.startswith(b"E."):
            found = printable(answer.decode("latin-1"), 100)
            raise AccessFaultError(what, where=self.name, found=f"error {found}")
        if not answer:
            raise AccessFaultError(what, where=self.name, found="a server that cannot do that")
        if ok and answer != b"OK":
            raise self._nonsense("OK", answer)

    def _stop(self, packet: bytes) -> Stop:
        text = printable(packet.decode("latin-1"), 100)
        if packet[:1] in (b"S", b"T"):
            return Stop(self._integer(packet[1:3]), text)
        if packet[:1] in (b"W", b"X"):
            return Stop(None, text)
        raise self._nonsense("why the core has halted", packet)

    def _hex(self, answer: bytes) -> bytes:
        try:
            return binascii.unhexlify(answer)
        except binascii.Error as error:
            raise self._nonsense("hexadecimal digits", answer) from error

    def _integer(self, digits: bytes) -> int:
        # int() alone would take signs, spaces and underscores, too.
        if not digits or digits.strip(b"0123456789abcdefABCDEF"):
            raise self._nonsense("a hexadecimal number", digits)
        return int(digits, 16)

    def _nonsense(self, expected: str, answer: bytes) -> ProtocolError:
        self._stream.close()
        return ProtocolError(
            "the GDB server answers what makes no sense",
            where=self.name,
            expected=expected,
            found=printable(answer.decode("latin-1"), 100) or "nothing",
            hint="is it a GDB server?",
        )

    def _silence(self) -> DeviceTimeoutError:
        self._stream.close()
        return DeviceTimeoutError(
            "the GDB server does not answer",
            where=self.name,
            expected=f"an answer within {self._answer_seconds:g} s",
            hint="is it a GDB server, and is no other debugger connected?",
        )
