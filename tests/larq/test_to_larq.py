"""Our models as Larq models: the same predictions, from a file, and back again."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from conftest import images, randomize

import keras_sbn
from keras_sbn import layers

pytestmark = pytest.mark.tensorflow
ROOT = Path(__file__).parents[2]

_PREDICT = """
import sys
import numpy as np, tensorflow as tf, larq as lq
import larq_compute_engine as lce
folder = sys.argv[1]
model = tf.keras.models.load_model(folder + "/larq.h5")
lq.models.summary(model)
x = np.load(folder + "/x.npy")
np.save(folder + "/y.npy", model.predict(x, verbose=0))
open(folder + "/larq.tflite", "wb").write(lce.convert_keras_model(model))
"""


def _model():
    inputs = x = keras.Input((9, 9, 3), name="image")
    x = keras.layers.BatchNormalization()(x)
    x = layers.SelfBinarizingConv2D(32, 3, padding="same", binarize_input=True, kernel_scale="mean")(x)
    x = layers.BinaryBatchNormalization()(keras.layers.MaxPooling2D()(x))
    x = layers.SelfBinarizingActivation()(x)
    y = layers.SelfBinarizingConv2D(32, 3, padding="same", pad_value=0.0, kernel_scale="learned")(x)
    y = layers.SelfBinarizingDepthwiseConv2D(3, padding="same", binarize_input=True)(y)
    x = keras.layers.LeakyReLU(0.2)(keras.layers.Add()([x, y]))
    x = layers.SelfBinarizingSeparableConv2D(8, 3, binarize_input=True, use_bias=True, activation="relu")(
        x
    )
    x = layers.SelfBinarizingDense(5, binarize_input=True)(keras.layers.Flatten()(x))
    return keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(x))


def _beside_keras_2(code, *arguments):
    environment = {**os.environ, "TF_USE_LEGACY_KERAS": "1", "CUDA_VISIBLE_DEVICES": "-1"}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "tests"), *sys.path])
    run = subprocess.run(
        [sys.executable, "-c", code, *arguments], env=environment, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr[-3000:]
    return run.stdout


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A hard model of ours, the Larq model's file, and what Larq and LCE make of it."""
    pytest.importorskip("tf_keras")
    folder = tmp_path_factory.mktemp("to_larq")
    keras.utils.set_random_seed(1)
    model = _model()
    rng = np.random.default_rng(1)
    randomize(model, rng)
    keras_sbn.binarize(model)
    x = images(rng, (9, 9, 3), 16)
    np.save(folder / "x.npy", x)
    assert keras_sbn.larq.to_larq(model, folder / "larq.h5") == folder / "larq.h5"
    return model, folder, x, _beside_keras_2(_PREDICT, str(folder))


def test_the_same_predictions(written):
    model, folder, x, _ = written
    np.testing.assert_allclose(np.load(folder / "y.npy"), model(x), rtol=1e-4, atol=1e-5)


def test_larqs_summary_knows_the_binary_weights(written):
    *_, said = written
    assert "Number of 1-bit" in said or "1-bit" in said


def test_larqs_converter_takes_it(written):
    model, folder, x, _ = written
    theirs = keras_sbn.ConvertedModel.load(folder / "larq.tflite")
    assert any("LceBconv2d" in row.operators for row in theirs.report.layers)
    np.testing.assert_allclose(theirs.predict(x), model(x), rtol=1e-3, atol=1e-4)


def test_there_and_back_again(written):
    model, folder, x, _ = written
    back = keras_sbn.larq.from_larq(folder / "larq.h5", trainable=True)
    np.testing.assert_allclose(back(x), model(x), rtol=1e-4, atol=1e-5)


def test_two_kerases_in_one_process():
    code = """
import keras, numpy as np, tensorflow as tf
import larq as lq
import keras_sbn
assert keras.__version__.startswith("3.") and tf.keras.Model.__module__.startswith("tf_keras")
ours = keras.Sequential([keras.Input((6,)), keras_sbn.layers.SelfBinarizingDense(4, binarize_input=True)])
keras_sbn.binarize(ours)
larq = keras_sbn.larq.to_larq(ours)
assert isinstance(larq, tf.keras.Model) and isinstance(larq.layers[-1], lq.layers.QuantDense)
x = np.random.default_rng(0).normal(size=(5, 6)).astype("float32")
assert (larq.predict(x, verbose=0) == np.asarray(ours(x))).all()
folded = keras_sbn.larq.from_larq(larq)
assert (np.asarray(folded(x)) == np.asarray(ours(x))).all()
print("done")
"""
    pytest.importorskip("tf_keras")
    assert _beside_keras_2(code).strip().endswith("done")


def test_what_has_no_counterpart(rng, tmp_path):
    inputs = keras.Input((4,))
    soft = keras.Model(inputs, layers.SelfBinarizingDense(3, binarize_input=True)(inputs))
    with pytest.raises(ValueError, match="Expected a binary network"):
        keras_sbn.larq.to_larq(soft, tmp_path / "larq.h5")
    keras_sbn.binarize(soft)
    with pytest.raises(ValueError, match="A folded model cannot go back"):
        keras_sbn.larq.to_larq(keras_sbn.fold(soft), tmp_path / "larq.h5")
    with pytest.raises(ValueError, match="Expected a path to save the Larq model to"):
        keras_sbn.larq.to_larq(soft)
    with pytest.raises(FileNotFoundError, match="Expected a folder that exists"):
        keras_sbn.larq.to_larq(soft, tmp_path / "absent" / "larq.h5")
    odd = keras.Model(inputs, keras.layers.LayerNormalization(name="odd")(inputs))
    with pytest.raises(ValueError, match="'odd', LayerNormalization"):
        keras_sbn.larq.to_larq(odd, tmp_path / "larq.h5")
