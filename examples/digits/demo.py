"""The demo: a network for handwritten digits on an emulated Cortex-M7, from model file to accuracy.

In: digits.tflite and digits_test.npz beside this file. Out: some images with prediction and label,
the cost of every operator, flash and RAM, and the accuracy over all test images, all measured on
the emulated device. Needs utvm installed and no network; takes a few seconds.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from rich.console import Console

from utvm.cli.output import progress, stdout_console
from utvm.cli.report import print_memory, print_operators
from utvm.driver.build import Build, build_model
from utvm.driver.load import load_model
from utvm.driver.options import resolve_options
from utvm.driver.run import Run, run_build
from utvm.driver.tensors import compare, read_expected, read_inputs

FOLDER = Path(__file__).resolve().parent
MODEL = FOLDER / "digits.tflite"
IMAGES = FOLDER / "digits_test.npz"
MOST_SHOWN = 7
PICTURE_COLUMNS = 19
BLOCKS = " ░▒▓█"
LETTERS = " .+%@"


def main() -> int:
    console = stdout_console()
    start = time.perf_counter()
    options = resolve_options(target="cortex-m7")
    with tempfile.TemporaryDirectory() as scratch, progress() as notify:
        notify(f"compiling {MODEL.name} for {options.target.name}")
        build = build_model(load_model(MODEL), options, Path(scratch))
        inputs = read_inputs(IMAGES, build.inputs)
        expected = read_expected(IMAGES, build.outputs, len(inputs[0]))
        notify(f"running {len(inputs[0])} images on {options.board.title}")
        run = run_build(build, inputs)
    with np.load(IMAGES) as stored:
        labels = stored["labels"]
    predicted = run.outputs[0].reshape(len(labels), -1).argmax(axis=1)
    show_images(console, inputs[0], predicted, labels)
    show_cost(console, build, run)
    matches = compare(run.outputs, expected).matches
    show_accuracy(console, build, predicted, labels, matches)
    console.print(f"{time.perf_counter() - start:.1f} s from model file to this line")
    return 0 if matches else 1


def show_images(
    console: Console, images: np.ndarray, predicted: np.ndarray, labels: np.ndarray
) -> None:
    """The first images, and at the end one that the network gets wrong, side by side."""
    shown = min(MOST_SHOWN, (console.width - 2) // PICTURE_COLUMNS)
    wrong = np.flatnonzero(predicted != labels)[:1].tolist()
    chosen = [*(i for i in range(len(labels)) if i not in wrong)][: shown - len(wrong)] + wrong
    shades = LETTERS if console.options.ascii_only or not console.is_terminal else BLOCKS
    pictures = [picture(images[index], shades) for index in chosen]
    console.print("Handwritten digits that the network has never seen:")
    console.print()
    for lines in zip(*pictures, strict=True):
        console.print("  " + "   ".join(lines))
    for name, numbers in (("predicted", predicted), ("label", labels)):
        console.print("  " + "   ".join(f"{name} {numbers[i]}".ljust(16) for i in chosen))
    console.print()


def picture(image: np.ndarray, shades: str) -> list[str]:
    """The image as lines of text; two characters a pixel, since characters are tall."""
    pixels = image.reshape(image.shape[-3:-1]).astype(np.int32)
    scaled = (pixels - pixels.min()) * (len(shades) - 1)
    levels = np.rint(scaled / max(1, int(np.ptp(pixels)))).astype(int)
    return ["".join(shades[level] * 2 for level in row) for row in levels]


def show_cost(console: Console, build: Build, run: Run) -> None:
    """The tables that `utvm run --profile` shows."""
    print_operators(console, run, build.macs, every_operator=True)
    console.print()
    assert build.memory is not None
    print_memory(console, build.memory, build.options.board, run.stack_bytes)
    console.print()


def show_accuracy(
    console: Console, build: Build, predicted: np.ndarray, labels: np.ndarray, matches: bool
) -> None:
    """Accuracy as measured on the device, and whether every output bit is the reference's."""
    right = int(np.count_nonzero(predicted == labels))
    console.print(
        f"accuracy on {len(labels)} test images, measured on {build.options.board.title}: "
        f"{right / len(labels):.2%} ({right} right)"
    )
    equal = "equal" if matches else "DIFFER from"
    console.print(f"all outputs {equal} those of LiteRT's reference kernels, bit for bit")


if __name__ == "__main__":
    sys.exit(main())
