"""A file trained on one backend of Keras converts on each other one, and to the same bytes."""

import importlib.util
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from conftest import digit_network, images

import keras_sbn
from keras_sbn.callbacks import Sharpen

HERE = keras.backend.backend()
THERE = [
    name
    for name in ("tensorflow", "jax", "torch")
    if name != HERE and importlib.util.find_spec(name) is not None
]
#: Without TensorFlow where it is not the backend: an import of it would fail.
CONVERT = """
import os, sys
if os.environ["KERAS_BACKEND"] != "tensorflow":
    sys.modules["tensorflow"] = None
import keras, keras_sbn, numpy as np
model = keras.models.load_model("model.keras")
data = np.load("data.npz")
for target in ("lce", "tflite"):
    converted = keras_sbn.convert(model, target=target)
    converted.save(f"{keras.backend.backend()}.{target}")
found = model.predict(data["x"], verbose=0)
assert (found.argmax(-1) == data["y"].argmax(-1)).all()
found = keras_sbn.ConvertedModel.load(keras.backend.backend() + ".lce").predict(data["x"])
assert (found.argmax(-1) == data["y"].argmax(-1)).all()
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a model trained on this backend, and its predictions."""
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("trained")
    model = digit_network()
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    x = images(rng, (7, 6, 2))
    model.fit(x, rng.integers(0, 3, 64), epochs=2, batch_size=16, callbacks=[Sharpen()], verbose=0)
    model.save(folder / "model.keras")
    np.savez(folder / "data.npz", x=x, y=model.predict(x, verbose=0))
    return folder, model, x


@pytest.mark.parametrize("target", ["lce", "tflite"])
def test_the_file_decides_as_the_trained_model(trained, target):
    _, model, x = trained
    verification = keras_sbn.verify(keras_sbn.convert(model, target=target), model, x)
    assert verification, str(verification)


@pytest.mark.parametrize("backend", THERE)
def test_a_model_trained_here_converts_there_to_the_same_bytes(trained, backend):
    folder, model, _ = trained
    run = subprocess.run(
        [sys.executable, "-c", CONVERT],
        cwd=folder,
        env={**os.environ, "KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    for target in ("lce", "tflite"):
        here = keras_sbn.convert(model, target=target).content
        assert (folder / f"{backend}.{target}").read_bytes() == here
