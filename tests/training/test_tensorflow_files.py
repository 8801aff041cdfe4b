"""TensorFlow's files of a float model, whatever the backend of the training is."""

import keras
import numpy as np
import pytest
from conftest import run_everywhere

from keras_sbn.conversion.converted import ConvertedModel
from keras_sbn.tflite.reader import read_file
from keras_sbn.training.tensorflow_files import tensorflow_files


@pytest.fixture(scope="module")
def float_model():
    """A small classifier with what Keras folds into its kernels."""
    keras.utils.set_random_seed(5)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            keras.layers.Conv2D(8, 3, padding="same", use_bias=False),
            keras.layers.BatchNormalization(),
            keras.layers.ReLU(),
            keras.layers.MaxPooling2D(2),
            keras.layers.Flatten(),
            keras.layers.Dense(4),
        ]
    )
    rng = np.random.default_rng(5)
    normalization = model.layers[1]
    normalization.set_weights([rng.uniform(0.5, 1.5, 8).astype("float32") for _ in range(4)])
    return model


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(6).uniform(-1, 1, (64, 8, 8, 3)).astype("float32")


@pytest.fixture(scope="module")
def files(float_model, x, tmp_path_factory):
    pytest.importorskip("tensorflow")
    path = tmp_path_factory.mktemp("model") / "float.keras"
    float_model.save(path)
    return tuple(ConvertedModel.load(content) for content in tensorflow_files(str(path), x))


def test_the_float_file_computes_what_the_model_does(float_model, x, files):
    expected = float_model.predict(x, verbose=0)
    found = run_everywhere(files[0], x, tolerance=1e-5)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_the_int8_file_has_kernels_of_int8_and_is_near_the_model(float_model, x, files):
    expected = float_model.predict(x, verbose=0)
    (outputs,) = (op.inputs[0] for op in read_file(files[1].content).operators if op.name == "DEQUANTIZE")
    step, _ = outputs.quantization
    found = run_everywhere(files[1], x, tolerance=2 * step)
    # Not equal, or nothing would be quantized; and a handful of roundings away.
    assert 0 < np.abs(found - expected).max() < 8 * step
    weighted = [op for op in read_file(files[1].content).operators if len(op.inputs) == 3]
    assert [op.name for op in weighted] == ["CONV_2D", "FULLY_CONNECTED"]
    assert [op.inputs[1].dtype for op in weighted] == ["int8", "int8"]


def test_inputs_and_outputs_are_float_and_of_one_image(files):
    for file in files:
        info = read_file(file.content)
        assert [(tensor.shape, tensor.dtype) for tensor in (*info.inputs, *info.outputs)] == [
            ((1, 8, 8, 3), "float32"),
            ((1, 4), "float32"),
        ]


def test_what_is_no_model_is_an_error_in_words(tmp_path, x):
    pytest.importorskip("tensorflow")
    path = tmp_path / "broken.keras"
    path.write_bytes(b"no model")
    with pytest.raises(ValueError, match=r"broken\.keras"):
        tensorflow_files(str(path), x)
