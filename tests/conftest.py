"""Fixtures and helpers that several tests share."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from keras_sbn import layers

_HERE = Path(__file__).parent
#: Where the backend of Keras computes nothing, or nothing that the tests named below it do not compare
#: on every backend as well. `make test` runs these on the first backend alone.
_ONCE = (
    "arm",
    "benchmarks",
    "cli",
    "conversion",
    "data",
    "deployment",
    "tflite",
    "verification",
    "folding/test_affine_maps.py",
    "folding/test_rules.py",
    "folding/test_thresholds.py",
    "models",
    "test_cli.py",
    "test_examples_scripts.py",
    "test_files.py",
    "test_import.py",
    "test_readme.py",
    "test_summary.py",
    "training/test_lock.py",
    "training/test_settings.py",
)
_ON_EVERY_BACKEND = (
    "conversion/test_across_backends.py",
    "conversion/test_converted.py",
    "data/test_fit.py",
)


def pytest_collection_modifyitems(items):
    for item in items:
        places = [item.path, *item.path.parents]
        once = any(_HERE / name in places for name in _ONCE)
        if once and not any(_HERE / name in places for name in _ON_EVERY_BACKEND):
            item.add_marker(pytest.mark.once)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(autouse=True)
def _seed():
    keras.utils.set_random_seed(0)


def activate(x, normalization=layers.BinaryBatchNormalization):
    return layers.SelfBinarizingActivation()(normalization()(x))


def digit_network(classes=3):
    """Convolutions, pools, a flatten and two dense layers; two of them meet odd sizes."""
    inputs = x = keras.Input((7, 6, 2), name="image")
    x = activate(layers.SelfBinarizingConv2D(32, 3, padding="same", name="conv_1")(x))
    x = layers.SelfBinarizingConv2D(40, 3, padding="same", name="conv_2")(x)
    x = activate(keras.layers.MaxPooling2D()(x))
    x = keras.layers.Dropout(0.2)(keras.layers.Flatten()(x))
    x = layers.SelfBinarizingDense(33, use_bias=True, name="dense_1")(x)
    x = activate(x, keras.layers.BatchNormalization)
    x = layers.SelfBinarizingDense(classes, name="dense_2")(x)
    return keras.Model(inputs, layers.BinaryBatchNormalization(name="logits")(x), name="digits")


def randomize(model, rng):
    """Gives every weight but the sharpness a random value; gammas take both signs and zero."""
    for weight in model.weights:
        if weight.name.endswith("_sharpness"):
            continue
        if weight.name == "moving_variance":
            value = rng.uniform(0.5, 30, weight.shape)
        elif weight.name == "gamma":
            value = rng.normal(size=weight.shape) * (rng.random(weight.shape) > 0.2)
        else:
            value = rng.normal(size=weight.shape)
        weight.assign(value)


def images(rng, shape, samples=64):
    """Multiples of 1/8 in [-2, 2], zeros of both signs among them: float sums of them are exact."""
    x = rng.integers(-16, 17, (samples, *shape)).astype("float32") / 8
    x[rng.random(x.shape) < 0.1] = -0.0
    return x
