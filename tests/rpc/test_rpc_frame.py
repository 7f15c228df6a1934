"""Frames: what is encoded is decoded in any pieces, what is damaged is dropped, and C agrees."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import PATIENCE_SECONDS
from tests.rpc.programs import HERE, build_sanitized
from utvm.device.crt import CRT, crt_include_dir
from utvm.device.rpc_frame import MAX_PAYLOAD, Frame, FrameReader, encode

U32 = st.integers(0, 2**32 - 1)
PAYLOADS = st.binary(max_size=300) | st.lists(st.sampled_from([0x7D, 0x7E, 0x5D, 0x5E])).map(bytes)
FRAMES = st.builds(Frame, st.integers(0, 255), U32, U32, PAYLOADS)
RPC_SOURCES = [
    CRT / "src" / f"{name}.c"
    for name in (
        *("runtime", "registry", "memory", "tensor", "status"),
        *("rpc_frame", "rpc_server", "rpc_commands", "rpc_status"),
    )
]


@given(st.lists(FRAMES, max_size=5), st.lists(st.integers(1, 50), min_size=1))
def test_frames_come_back_from_any_pieces(frames: list[Frame], sizes: list[int]) -> None:
    data = b"noise" + b"".join(map(encode, frames))
    reader = FrameReader()
    found = []
    while data:
        size = sizes[len(data) % len(sizes)]
        found += reader.feed(data[:size])
        data = data[size:]
    assert found == frames
    assert reader.damaged_frames == bool(frames)


@given(FRAMES, st.data())
def test_a_flipped_bit_is_found(frame: Frame, data: st.DataObject) -> None:
    raw = bytearray(encode(frame))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    whole = encode(Frame(1, 2, 3, b"next"))
    *damaged, last = FrameReader().feed(bytes(raw) + whole)
    assert last == Frame(1, 2, 3, b"next")
    assert damaged in ([], [frame]), "only its delimiters can be damaged without a loss"


@given(FRAMES, st.data())
def test_a_lost_byte_is_found(frame: Frame, data: st.DataObject) -> None:
    raw = encode(frame)
    at = data.draw(st.integers(1, len(raw) - 2))
    found = list(FrameReader().feed(raw[:at] + raw[at + 1 :]))
    assert found in ([], [frame]), "what was lost may not have mattered, but nothing else comes"


@given(st.binary())
def test_a_frame_that_is_cut_short_is_none(payload: bytes) -> None:
    raw = encode(Frame(1, 2, 3, payload))
    for size in range(len(raw) - 1):
        assert list(FrameReader().feed(raw[:size])) == []


def test_endless_frames_take_bounded_memory() -> None:
    reader = FrameReader()
    for _ in range(50):
        assert list(reader.feed(b"x" * 65536)) == []
    assert len(reader._pieces) <= 2 * (MAX_PAYLOAD + 16) + 1
    frame = Frame(4, 1, 1, bytes(MAX_PAYLOAD))
    assert list(reader.feed(encode(frame))) == [frame]
    assert reader.damaged_frames == 1


def test_both_languages_make_the_same_frames(tmp_path: Path) -> None:
    program = build_sanitized(HERE / "echo.c", tmp_path, RPC_SOURCES)

    @settings(max_examples=20, deadline=None)
    @given(st.lists(FRAMES, min_size=1, max_size=20))
    def check(frames: list[Frame]) -> None:
        raw = b"".join(map(encode, frames))
        done = subprocess.run([program], input=raw, capture_output=True, check=True)
        assert done.stdout == raw

    check()


def test_mutated_requests_do_no_harm(tmp_path: Path) -> None:
    program = build_sanitized(HERE / "fuzz.c", tmp_path, RPC_SOURCES)
    for seed in range(4):
        done = subprocess.run(
            [program, str(seed), "10000"],
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        replies, succeeded = map(int, done.stdout.split())
        assert replies > 200_000, "most requests reach the server"
        assert succeeded > 50_000, "and many are right"


def test_libfuzzer_finds_nothing(tmp_path: Path) -> None:
    names = ["clang", *(f"clang-{version}" for version in range(22, 13, -1))]
    clang = next(filter(None, map(shutil.which, names)), None)
    if clang is None:
        pytest.skip("needs clang with libFuzzer")
    program = tmp_path / "fuzz"
    flags = ["-DLIBFUZZER", "-fsanitize=fuzzer,address,undefined", "-O1", "-g"]
    command = [clang, *flags, "-fno-sanitize-recover=all", f"-I{crt_include_dir()}", f"-I{HERE}"]
    command += [str(HERE / "fuzz.c"), *map(str, RPC_SOURCES), "-o", str(program)]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    if built.returncode != 0 and "fuzzer" in built.stderr:
        pytest.skip("this clang has no libFuzzer")
    assert built.returncode == 0, built.stderr
    seconds = os.environ.get("UTVM_FUZZ_SECONDS", "10")
    limits = [f"-max_total_time={seconds}", "-max_len=2048", "-seed=1", "-timeout=10"]
    done = subprocess.run(
        [program, *limits], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
