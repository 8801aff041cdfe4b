"""The networks that run as C: known ones, with weights that float32 sums exactly, and random ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import keras
import numpy as np
from c_programs import Case
from hypothesis import given
from hypothesis import strategies as st
from random_networks import binary_network, drawing, refused_layers

import keras_sbn
from keras_sbn import layers, models

_SAMPLES = 4


def on_grid(model: Any, rng: np.random.Generator) -> None:
    """Gives every weight a value with which float32 holds every sum: each sign has one right answer."""
    for layer in model._flatten_layers():
        for weight in layer.weights:
            if weight.name.endswith("_sharpness") or (not weight.trainable and "blur" in layer.name):
                continue
            if weight.name == "moving_variance":
                # With the epsilon of Keras: 4, or 1 where there is no gamma.
                value = np.full(weight.shape, (4.0 if getattr(layer, "scale", True) else 1.0) - 1e-3)
            elif weight.name == "gamma":
                # Only in the sections of QuickNet a fraction is added.
                plain = layer.name.startswith(("stem", "transition"))
                value = rng.choice([-2.0, 2.0] if plain else [-1.0, 1.0, 2.0], weight.shape)
            elif weight.name == "moving_mean" and isinstance(layer, keras.layers.BatchNormalization):
                # The square root of 4 is not quite 2, and beta less a mean over it would not be 0.
                value = np.zeros(weight.shape)
            elif weight.name in ("beta", "moving_mean", "bias"):
                value = rng.integers(-4, 5, weight.shape) / 2
            elif isinstance(
                layer, keras.layers.Conv2D | keras.layers.DepthwiseConv2D | keras.layers.Dense
            ):
                value = rng.choice([-1.0, 1.0], weight.shape) * (rng.random(weight.shape) < 0.1)
            else:
                value = rng.normal(size=weight.shape)
            weight.assign(value)
    keras_sbn.binarize(model)


def demo() -> tuple[Any, list[np.ndarray]]:
    """The network of `keras-sbn demo`, which takes the images as they were written."""
    model = models.TinyConv((8, 8, 1), classifier_activation=None, name="demo")
    return _folded(model, (1 / 16, 0.0), 17)


def binary_net() -> tuple[Any, list[np.ndarray]]:
    model = models.BinaryNet((16, 16, 3), alpha=1 / 8, classifier_activation=None, name="binary_net")
    return _folded(model, (1 / 128, -1.0), 256)


def quick_net() -> tuple[Any, list[np.ndarray]]:
    """Residual connections and a float stem, from images of few values."""
    model = models.QuickNetSmall((16, 16, 3), alpha=1 / 4, classes=10, classifier_activation=None)
    rng = np.random.default_rng(0)
    on_grid(model, rng)
    return keras_sbn.fold(model), [rng.integers(-2, 3, (_SAMPLES, 16, 16, 3)).astype("float32")]


def keyword_net() -> tuple[Any, list[np.ndarray]]:
    """Convolutions of one dimension over 24 steps of 8 values, two outputs."""
    inputs = keras.Input((24, 8), name="steps")
    x = layers.SelfBinarizingConv1D(40, 5, padding="same")(inputs)
    x = layers.SelfBinarizingActivation()(layers.BinaryBatchNormalization()(x))
    x = layers.SelfBinarizingConv1D(33, 3, padding="causal", dilation_rate=2)(x)
    x = keras.layers.MaxPooling1D(2)(x)
    x = layers.SelfBinarizingActivation(name="last_sign")(layers.BinaryBatchNormalization()(x))
    y = layers.SelfBinarizingDense(6, name="word")(keras.layers.Flatten()(x))
    model = keras.Model(inputs, {"word": y, "last": x}, name="keyword_net")
    rng = np.random.default_rng(0)
    on_grid(model, rng)
    return keras_sbn.fold(model), [rng.integers(-16, 17, (_SAMPLES, 24, 8)).astype("float32") / 8]


NETWORKS: dict[str, Callable[[], tuple[Any, list[np.ndarray]]]] = {
    "demo": demo,
    "binary_net": binary_net,
    "quick_net_small": quick_net,
    "keyword_net": keyword_net,
}


def _folded(model: Any, scaling: tuple[float, float], values: int) -> tuple[Any, list[np.ndarray]]:
    """A network folded to take 8-bit images, and some that have so many different values."""
    rng = np.random.default_rng(0)
    on_grid(model, rng)
    folded = keras_sbn.fold(model, input_scaling=scaling)
    return folded, [rng.integers(0, values, (_SAMPLES, *model.input_shape[1:])).astype("uint8")]


def known_cases() -> list[Case]:
    """The networks above; with the float layers of QuickNet alone the outputs may differ, by rounding."""
    cases = []
    for name, build in NETWORKS.items():
        model, inputs = build()
        case = _case(name, model, inputs, keras_sbn.convert(model, "c"))
        cases.append(replace(case, tolerance=1e-6 if name == "quick_net_small" else 0.0))
    return cases


def random_cases(count: int) -> list[Case]:
    """The random networks that convert, of so many."""
    cases: list[Case] = []

    @drawing(count)
    @given(st.data())
    def draw(data: Any) -> None:
        model, x = binary_network(data.draw, max_blocks=3)
        try:
            folded = keras_sbn.fold(model)
            converted = keras_sbn.convert(folded, "c", allow_float_fallback=True)
        except ValueError as error:
            if not refused_layers(model) and "C function" in str(error):
                raise
            return
        cases.append(_case(f"network_{len(cases)}", folded, [x], converted))
        keras.utils.clear_session()

    draw()
    return cases


def _case(name: str, model: Any, inputs: list[np.ndarray], converted: Any) -> Case:
    found = model.predict_on_batch(inputs[0])
    outputs = [found[key] for key in converted.output_names] if isinstance(found, dict) else found
    expected = [np.asarray(one) for one in keras.tree.flatten(outputs)]
    return Case(converted.code(name), inputs, expected)
