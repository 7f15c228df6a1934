"""Trains the network of the demo on real handwritten digits and writes it as int8 TFLite.

In: scikit-learn's ``load_digits`` (1797 images of 8x8 pixels). Out, beside this file: digits.tflite
and digits_test.npz with the test images ``in0``, their ``labels`` and the result ``out0`` of
LiteRT's reference kernels. The demo needs only these two. Training needs torch, scikit-learn and
ai-edge-litert; split and seed are fixed, but another torch may round differently.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from ai_edge_litert import interpreter as litert
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from tflite_writer import TfliteWriter
from torch import Tensor, nn
from torch.nn import functional

Array = npt.NDArray[Any]

FOLDER = Path(__file__).resolve().parent
SEED = 0
EPOCHS = 80
BATCH = 64
LEARNING_RATE = 4e-3
TEST_SHARE = 0.25
WHITE = 16.0
RELU = 1
SAME, VALID = 0, 1


class Digits(nn.Module):
    """Convolution, a depthwise separable residual block, pooling, convolution, classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 24, 3, padding=1)
        self.depthwise = nn.Conv2d(24, 24, 3, padding=1, groups=24)
        self.pointwise = nn.Conv2d(24, 24, 1)
        self.mix = nn.Conv2d(24, 32, 3, padding=1)
        self.classify = nn.Linear(2 * 2 * 32, 10)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Every activation under the name that it has in the TFLite file."""
        stem = functional.relu(self.stem(image))
        depthwise = functional.relu(self.depthwise(stem))
        pointwise = self.pointwise(depthwise)
        residual = functional.relu(stem + pointwise)
        halved = functional.avg_pool2d(residual, 2)
        mix = functional.relu(self.mix(halved))
        # TFLite keeps channels last, so that the classifier must see them last.
        flat = functional.avg_pool2d(mix, 2).permute(0, 2, 3, 1).flatten(1)
        return {
            "image": image,
            "stem": stem,
            "depthwise": depthwise,
            "pointwise": pointwise,
            "residual": residual,
            "mix": mix,
            "logits": self.classify(flat),
        }


def split_digits() -> tuple[Array, Array, Array, Array]:
    """Training images, test images, training labels, test labels; images [n, 1, 8, 8] in 0..1."""
    digits = load_digits()
    images = (digits.images / WHITE).astype(np.float32)[:, None]
    parts = train_test_split(
        images, digits.target, test_size=TEST_SHARE, random_state=SEED, stratify=digits.target
    )
    return parts[0], parts[1], parts[2], parts[3]


def shifted(images: Tensor, generator: torch.Generator) -> Tensor:
    """The images, each moved by at most one pixel in both directions."""
    wide = functional.pad(images, (1, 1, 1, 1))
    offsets = torch.randint(0, 3, (len(images), 2), generator=generator).tolist()
    moved = [wide[i, :, y : y + 8, x : x + 8] for i, (y, x) in enumerate(offsets)]
    return torch.stack(moved)


def train(images: Tensor, labels: Tensor) -> Digits:
    """Adam with a one-cycle learning rate over shifted images."""
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(SEED)
    network = Digits()
    steps = EPOCHS * -(-len(images) // BATCH)
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
    for _ in range(EPOCHS):
        order = torch.randperm(len(images), generator=generator)
        for batch in order.split(BATCH):
            logits = network(shifted(images[batch], generator))["logits"]
            loss = functional.cross_entropy(logits, labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return network


class Int8Network:
    """Turns the trained network into int8 tensors and operators of a TFLite model."""

    def __init__(self, network: Digits, calibration: dict[str, Tensor]) -> None:
        self.weights = {name: value.detach().numpy() for name, value in network.named_parameters()}
        self.quantization = {name: affine(value) for name, value in calibration.items()}
        self.writer = TfliteWriter()
        self.index: dict[str, int] = {}

    def activation(self, name: str, shape: Sequence[int], like: str = "") -> int:
        """An activation with its calibrated range, or with that of ``like``."""
        scale, zero_point = self.quantization[like or name]
        self.quantization[name] = (scale, zero_point)
        self.index[name] = self.writer.tensor(name, shape, [scale], zero_point)
        return self.index[name]

    def layer(self, name: str, source: str, order: Sequence[int], axis: int) -> list[int]:
        """The operands of a layer: its input, its weights per channel of ``axis``, its bias.

        ``order`` turns torch's order of the axes into that of TFLite. An ``axis`` of -1 gives
        all channels one scale.
        """
        weights = self.weights[f"{name}.weight"].transpose(order)
        others = tuple(i for i in range(weights.ndim) if i != axis)
        largest = np.abs(weights).max(axis=others, keepdims=True)
        scales = (largest / 127).astype(np.float32)
        quantized = np.clip(np.round(weights / scales), -127, 127).astype(np.int8)
        bias_scales = scales.ravel() * self.quantization[source][0]
        bias = np.round(self.weights[f"{name}.bias"] / bias_scales).astype(np.int32)
        writer = self.writer
        return [
            self.index[source],
            writer.tensor(
                f"{name}_weights", quantized.shape, scales.ravel(), 0, max(axis, 0), quantized
            ),
            writer.tensor(f"{name}_bias", bias.shape, bias_scales, constant=bias),
        ]

    def conv(self, name: str, source: str, shape: Sequence[int], activation: int) -> None:
        operands = self.layer(name, source, (0, 2, 3, 1), 0)
        output = self.activation(name, shape)
        options = {"Padding": SAME, "StrideW": 1, "StrideH": 1, "DilationWFactor": 1}
        options |= {"DilationHFactor": 1, "FusedActivationFunction": activation}
        self.writer.op("CONV_2D", "Conv2D", operands, [output], **options)

    def depthwise(self, name: str, source: str, shape: Sequence[int]) -> None:
        operands = self.layer(name, source, (1, 2, 3, 0), 3)
        output = self.activation(name, shape)
        options = {"Padding": SAME, "StrideW": 1, "StrideH": 1, "DilationWFactor": 1}
        options |= {"DilationHFactor": 1, "FusedActivationFunction": RELU, "DepthMultiplier": 1}
        self.writer.op("DEPTHWISE_CONV_2D", "DepthwiseConv2D", operands, [output], **options)

    def average_pool(self, name: str, source: str, shape: Sequence[int], size: int) -> None:
        output = self.activation(name, shape, like=source)
        options = {"Padding": VALID, "StrideW": size, "StrideH": size}
        options |= {"FilterWidth": size, "FilterHeight": size}
        self.writer.op("AVERAGE_POOL_2D", "Pool2D", [self.index[source]], [output], **options)

    def model(self) -> bytes:
        image = self.activation("image", (1, 8, 8, 1))
        self.conv("stem", "image", (1, 8, 8, 24), RELU)
        self.depthwise("depthwise", "stem", (1, 8, 8, 24))
        self.conv("pointwise", "depthwise", (1, 8, 8, 24), 0)
        operands = [self.index["stem"], self.index["pointwise"]]
        residual = self.activation("residual", (1, 8, 8, 24))
        self.writer.op("ADD", "Add", operands, [residual], FusedActivationFunction=RELU)
        self.average_pool("halved", "residual", (1, 4, 4, 24), 2)
        self.conv("mix", "halved", (1, 4, 4, 32), RELU)
        self.average_pool("pooled", "mix", (1, 2, 2, 32), 2)
        flat = self.activation("flat", (1, 128), like="pooled")
        shape = self.writer.tensor("flat_shape", (2,), constant=np.array([1, 128], np.int32))
        self.writer.op("RESHAPE", "Reshape", [self.index["pooled"], shape], [flat])
        logits_operands = self.layer("classify", "flat", (0, 1), -1)
        logits = self.activation("logits", (1, 10))
        self.writer.op("FULLY_CONNECTED", "FullyConnected", logits_operands, [logits])
        # The TFLite specification fixes the range of a softmax: 0 to 255/256.
        digit = self.writer.tensor("digit", (1, 10), [1 / 256], -128)
        self.writer.op("SOFTMAX", "Softmax", [logits], [digit], Beta=1)
        return self.writer.model("digits", [image], [digit])


def affine(values: Tensor) -> tuple[float, int]:
    """(scale, zero point) of int8 for the range of ``values``, which always includes 0."""
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    scale = float(np.float32((high - low) / 255))
    return scale, int(np.round(-128 - low / scale))


def run_reference(model: bytes, images: Array) -> Array:
    """LiteRT's reference kernels on every image."""
    reference = litert.Interpreter(
        model_content=model,
        experimental_op_resolver_type=litert.OpResolverType.BUILTIN_REF,
    )
    reference.allocate_tensors()
    (given,), (result,) = reference.get_input_details(), reference.get_output_details()
    rows = []
    for image in images:
        reference.set_tensor(given["index"], image)
        reference.invoke()
        rows.append(reference.get_tensor(result["index"]))
    return np.array(rows)


def main() -> None:
    train_images, test_images, train_labels, test_labels = split_digits()
    network = train(torch.from_numpy(train_images), torch.from_numpy(train_labels))
    with torch.no_grad():
        calibration = network(torch.from_numpy(train_images))
        logits = network(torch.from_numpy(test_images))["logits"].numpy()
    int8_network = Int8Network(network, calibration)
    model = int8_network.model()
    scale, zero_point = int8_network.quantization["image"]
    images = np.clip(np.round(test_images / scale) + zero_point, -128, 127).astype(np.int8)
    images = images.reshape(-1, 1, 8, 8, 1)
    scores = run_reference(model, images)
    (FOLDER / "digits.tflite").write_bytes(model)
    labels = test_labels.astype(np.int8)
    np.savez_compressed(FOLDER / "digits_test.npz", in0=images, out0=scores, labels=labels)
    float_accuracy = np.mean(logits.argmax(axis=1) == test_labels)
    int8_accuracy = np.mean(scores.reshape(-1, 10).argmax(axis=1) == test_labels)
    print(f"{len(test_labels)} test images: float {float_accuracy:.2%}, int8 {int8_accuracy:.2%}")
    print(f"digits.tflite: {len(model)} bytes")


if __name__ == "__main__":
    main()
