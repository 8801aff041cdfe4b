"""The networks that run on ARM: portable files, inputs, and every decision of the hard Keras model."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

import keras_sbn
from keras_sbn import layers
from keras_sbn.demo import digits, run_demo
from keras_sbn.tflite.schema import schema
from keras_sbn.tflite.writer import finish

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import networks


@dataclass(frozen=True, eq=False)
class Case:
    """A network to run.

    Attributes:
        name: What it is.
        content: Its portable file.
        inputs: Samples, as the file takes them.
        outputs: What the hard Keras model gives for them.
        signs: Decisions of the hard Keras model, +1 as 1 and -1 as 0, by the name of the tensor of the
            file that should hold the same.
        exact: Whether the first layer adds integers up, so that every device has to decide alike.
    """

    name: str
    content: bytes
    inputs: np.ndarray
    outputs: np.ndarray
    signs: dict[str, np.ndarray]
    exact: bool = True

    def with_decisions(self) -> bytes:
        """The file with every tensor of decisions made an output, behind its own."""
        file = schema().ModelT.InitFromObj(schema().Model.GetRootAs(self.content, 0))
        graph = file.subgraphs[0]
        tensors = {
            graph.tensors[index].name.decode(): index for op in graph.operators for index in op.outputs
        }
        # The signs of an integer first layer are written to a tensor with a suffix.
        found = (tensors.get(name, tensors.get(f"{name}/int8")) for name in self.signs)
        graph.outputs = [*graph.outputs, *found]
        return finish(file)


def demo(folder: Path, samples: int, say: Callable[[str], None]) -> Case:
    """The demo's network, trained; its images, 0 to 16, go in as they were written, uint8.

    Args:
        folder: Where the demo's results go.
        samples: Number of inputs.
        say: Receives lines of progress.
    """
    model = trained_demo(folder, say)
    images = np.round(16 * digits()[1][0][:samples]).astype("uint8")
    return _case("demo", model, images, scale=1 / 16, offset=0.0)


def trained_demo(folder: Path, say: Callable[[str], None]) -> Any:
    """The demo's network after ten epochs, trained anew; `folder` and `say` are those of `demo`."""
    run_demo(folder / "demo", epochs=10, say=lambda line: say(f"  {line}") if "epoch" in line else None)
    return keras.models.load_model(folder / "demo/digits.keras")


def binary_net(folder: Path, samples: int, say: Callable[[str], None]) -> Case:
    """BinaryNet for CIFAR-10 with random weights."""
    return _case("BinaryNet", networks.binary_net(), photographs(samples, 32))


def residual(folder: Path, samples: int, say: Callable[[str], None]) -> Case:
    """A residual network with random weights and an integer first layer."""
    return _case("residual network", residual_network(), photographs(samples, 32))


def float_residual(folder: Path, samples: int, say: Callable[[str], None]) -> Case:
    """The same behind a float first layer, and a fifth of the inputs."""
    pieces = photographs(samples, 32)[: max(samples // 5, 1)]
    return _float_case("residual network, float first layer", residual_network(float_first=True), pieces)


#: The networks by the names that the command line takes.
CASES = {"demo": demo, "binarynet": binary_net, "residual": residual, "float-residual": float_residual}


def residual_network(float_first: bool = False) -> Any:
    """Two sections of binary convolutions, each added to what it read; a binary or float first layer.

    The sums of a residual network are real numbers. Here scales, means and offsets are multiples of
    powers of two, so that float32 holds every one of them exactly and each sign has one right answer,
    whatever the order in which a processor adds.
    """
    rng = np.random.default_rng(0)

    def normalize(x: Any, products: int) -> Any:
        layer = keras.layers.BatchNormalization(epsilon=0.0)
        normalized = layer(x)
        channels = (x.shape[-1],)
        layer.gamma.assign(rng.integers(32, 97, channels) / 64)
        layer.beta.assign(rng.integers(-32, 33, channels) / 64)
        layer.moving_mean.assign(rng.integers(-64, 65, channels) / 4)
        layer.moving_variance.assign(np.full(channels, 4.0 ** np.round(np.log2(products) / 2)))
        return normalized

    inputs = keras.Input((32, 32, 3))
    first = keras.layers.Conv2D if float_first else layers.SelfBinarizingConv2D
    x = first(32, 3, padding="same", use_bias=False)(inputs)
    x = normalize(x, 27)
    for section in range(2):
        if section:
            x = keras.layers.MaxPooling2D()(x)
            x = keras.layers.Concatenate()([x, x])
        filters = x.shape[-1]
        for _ in range(3):
            y = layers.SelfBinarizingConv2D(filters, 3, padding="same")(
                layers.SelfBinarizingActivation()(x)
            )
            x = keras.layers.Add()([x, normalize(y, 9 * filters)])
    x = layers.SelfBinarizingActivation()(x)
    x = layers.SelfBinarizingDense(10)(keras.layers.Flatten()(x))
    model = keras.Model(inputs, normalize(x, 16384), name="residual_network")
    for layer in model.layers:
        if hasattr(layer, "kernel"):
            layer.kernel.assign(rng.normal(size=layer.kernel.shape))
    keras_sbn.binarize(model)
    return model


def photographs(samples: int, size: int) -> np.ndarray:
    """Square pieces, uint8, of the two photographs that scikit-learn ships."""
    from sklearn.datasets import load_sample_images

    rng = np.random.default_rng(0)
    pictures = load_sample_images().images
    pieces = []
    for index in range(samples):
        picture = pictures[index % len(pictures)]
        top, left = (int(rng.integers(0, length - size + 1)) for length in picture.shape[:2])
        pieces.append(picture[top : top + size, left : left + size])
    return np.stack(pieces)


def _case(
    name: str, model: Any, images: np.ndarray, scale: float = 1 / 128, offset: float = -1.0
) -> Case:
    folded, trace = keras_sbn.fold(model, input_scaling=(scale, offset), trace=True)
    content = keras_sbn.convert(folded, target="tflite").content
    x = images.astype("float32") * np.float32(scale) + np.float32(offset)
    return Case(name, content, images, *_decisions(model, trace.signs, x))


def _float_case(name: str, model: Any, images: np.ndarray) -> Case:
    _, trace = keras_sbn.fold(model, trace=True)
    content = keras_sbn.convert(model, target="tflite").content
    x = images.astype("float32") / np.float32(128) - np.float32(1)
    return Case(name, content, x, *_decisions(model, trace.signs, x), exact=False)


def _decisions(
    model: Any, moved: dict[str, str], x: np.ndarray
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The hard model's outputs, and all its signs by their names in the file."""
    found = [layer for layer in model.layers if isinstance(layer, layers.SelfBinarizingActivation)]
    # A sign that the fold's trace leaves out is a value that the file does not hold: it was negated.
    found = [layer for layer in found if layer.name in moved]
    signs = keras.Model(model.inputs, [model.output, *(layer.output for layer in found)])
    outputs, *values = (np.asarray(value) for value in signs.predict(x, batch_size=20, verbose=0))
    names = [moved[layer.name] for layer in found]
    return outputs, {name: value >= 0 for name, value in zip(names, values, strict=True)}
