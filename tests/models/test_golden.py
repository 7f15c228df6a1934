"""Real networks give the reference's outputs on every target, with the program that users run.

In: ../shared/models, one folder per network with its model and golden.npz. Every case goes the
whole road through the driver: import, compile, build, run, compare; integers bit for bit. The
memory that the plan promised is compared with the program's on the way.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kept import Kept
from utvm.driver.build import Build
from utvm.driver.load import load_model
from utvm.driver.memory import forecast
from utvm.driver.options import resolve_options
from utvm.driver.run import run_build
from utvm.driver.tensors import compare, read_expected, read_inputs

# Small enough for a Cortex-M0+, which has no FPU and multiplies slowly.
SMALL = (
    "cfu_magic_wand_qdq",
    "coral_split_concat_uint8",
    "mlonmcu_catdog",
    "mlonmcu_rnnoise_int8",
    "mlperf_ad01_int8",
    "mlperf_sww_int8",
    "mltk_anomaly_detection",
    "seanet16_add1",
    "seanet16_conv1",
    "seanet16_conv8",
    "seanet16_leaky_relu0",
    "seanet16_pad0",
    "seanet16_quantize0",
    "seanet16_strided_slice0",
    "seanet16_sub0",
    "seanet16_transpose_conv4",
    "tflm_hello_world_float",
    "tflm_hello_world_int8",
    "tflm_magic_wand_float",
    "tflm_micro_speech_int8",
    "tflm_simple_add",
    "tinymaix_mnist_dw_q",
    "tinymaix_mnist_valid_q",
)
LARGE = (
    "coral_mobilenet_v1_uint8",
    "mcunet_vww",
    "mlonmcu_cnn_s_int8",
    "mlperf_kws_float",
    "mlperf_kws_int8",
    "mlperf_resnet8_float",
    "mlperf_resnet8_int8",
    "mlperf_vww96_int8",
    "mltk_kws_pacman",
    "nxp_yolo_face",
    "tflm_person_detect",
    "tinymaix_cifar10_q",
    "tinymaix_mbnet128_q",
)
QUICK = frozenset({"tflm_hello_world_int8", "tflm_simple_add", "tflm_micro_speech_int8"})
# Another compiler, and the targets that share an instruction set with one of the main ones.
GCC = (
    ("cfu_magic_wand_qdq", "cortex-m0plus"),
    ("mlonmcu_rnnoise_int8", "cortex-m4"),
    ("mlperf_ad01_int8", "cortex-m0plus"),
    ("mlperf_kws_float", "cortex-m7"),
    ("mlperf_kws_int8", "cortex-m4"),
    ("mlperf_resnet8_int8", "cortex-m7"),
    ("seanet16_conv1", "cortex-m33"),
    ("tflm_hello_world_float", "host"),
    ("tflm_person_detect", "host"),
)
OTHER_TARGETS = (
    ("mlperf_kws_int8", "cortex-m3"),
    ("mlperf_resnet8_float", "cortex-m33"),
    ("mlperf_vww96_int8", "cortex-m33"),
    ("tflm_hello_world_float", "cortex-m3"),
)


def cases() -> list[object]:
    """Network, target and toolchain; all but the quickest are marked slow."""
    main = ("cortex-m4", "cortex-m7", "host")
    listed = [(n, t, "zig") for n in (*SMALL, *LARGE) for t in main]
    listed += [(n, "cortex-m0plus", "zig") for n in SMALL]
    listed += [(n, t, "zig") for n, t in OTHER_TARGETS]
    listed += [(n, t, "gcc") for n, t in GCC]
    return [
        pytest.param(*case, marks=() if case[0] in QUICK else pytest.mark.slow, id="-".join(case))
        for case in listed
    ]


@pytest.mark.parametrize(("network", "target", "toolchain"), cases())
def test_outputs_equal_the_reference(
    shared_models: Path, kept: Kept, tmp_path: Path, network: str, target: str, toolchain: str
) -> None:
    folder = shared_models / network
    options = resolve_options(target, toolchain=toolchain)
    build = kept.build(load_model(folder / "model.tflite"), options, tmp_path)
    inputs = read_inputs(folder / "golden.npz", build.inputs)
    expected = read_expected(folder / "golden.npz", build.outputs, len(inputs[0]))
    run = run_build(build, inputs)
    comparison = compare(run.outputs, expected)
    assert comparison.matches, comparison
    check_memory(build)


def check_memory(build: Build) -> None:
    """What the plan promised is what the program holds, constant by constant."""
    if build.image is None or build.memory is None:
        return
    promised = forecast(build.compiled)
    assert build.memory.ram.arena == promised.arena
    assert build.memory.ram.io == promised.io
    assert build.memory.flash.constants >= promised.parameters
    sections = [s for s in build.image.sections if s.alloc and s.name != ".stack"]
    ram = sum(s.size for s in sections if s.address >= 0x2000_0000)
    assert build.memory.ram.total == ram
    flash = sum(s.size for s in sections if not s.nobits)
    assert build.memory.flash.total == flash
