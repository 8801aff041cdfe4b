"""Small networks, data and child processes that several test files use."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import keras
import numpy as np

import keras_sbn

ROOT = Path(__file__).parent.parent
#: The backend for child processes in which it computes nothing: TensorFlow takes seconds to import.
LIGHT_BACKEND = "jax" if importlib.util.find_spec("jax") else keras.backend.backend()


def data(samples=48, seed=0):
    """Four classes that a small network learns: the class is a bright pixel."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 4, samples)
    x = rng.normal(size=(samples, 6, 6, 1)).astype("float32")
    x[np.arange(samples), y, y] += 4
    return x, y


def model(seed=0, learning_rate=1e-2, batch_normalization=None, **compile_options):
    """Two binary convolutions, one of them behind an activation layer, and a binary dense layer."""
    keras.utils.set_random_seed(seed)
    layers = keras_sbn.layers
    normalize = batch_normalization or layers.BinaryBatchNormalization
    network = keras.Sequential(
        [
            keras.Input((6, 6, 1)),
            layers.SelfBinarizingConv2D(4, 3, padding="same", name="first"),
            normalize(name="normalize_first"),
            layers.SelfBinarizingActivation(name="sign_first"),
            layers.SelfBinarizingConv2D(4, 3, name="second"),
            keras.layers.MaxPooling2D(name="pool"),
            normalize(name="normalize_second"),
            keras.layers.Flatten(name="flatten"),
            keras.layers.Dropout(0.1, name="dropout"),
            layers.SelfBinarizingDense(4, binarize_input=True, name="dense"),
            normalize(name="normalize_dense"),
            keras.layers.Activation("softmax", name="softmax"),
        ],
        name="small",
    )
    network.compile(
        keras.optimizers.Adam(learning_rate),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
        **compile_options,
    )
    return network


class RecordSharpness(keras.callbacks.Callback):
    """Keeps the sharpness that every batch was trained with, read from the weights. Put it last."""

    def __init__(self, layer="first", weight="kernel_sharpness"):
        super().__init__()
        self.layer = layer
        self.weight = weight
        self.values = []

    def on_train_batch_begin(self, batch, logs=None):
        weight = getattr(self.model.get_layer(self.layer), self.weight)
        self.values.append(float(keras.ops.convert_to_numpy(weight)))


def run_child(code, **environment):
    """Runs `code` in a new Python process and returns what its last line says in JSON."""
    environment = {
        **os.environ,
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
        **environment,
    }
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return json.loads(result.stdout.strip().splitlines()[-1])
