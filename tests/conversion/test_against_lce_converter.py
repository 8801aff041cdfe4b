"""Our operators are those that the Larq Compute Engine's own converter writes."""

import keras
import numpy as np
import pytest
from conftest import images, randomize

import keras_sbn
from keras_sbn import layers
from keras_sbn.tflite.reader import read_file

pytestmark = [pytest.mark.tensorflow, pytest.mark.lce]


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Our file and LCE's own of a sign, two convolutions, a pool and thresholds."""
    import larq_compute_engine as lce
    import tensorflow as tf

    rng = np.random.default_rng(0)
    inputs = keras.Input((9, 9, 40))
    x = layers.SelfBinarizingActivation()(inputs)
    for filters in (36, 7):
        x = layers.SelfBinarizingConv2D(filters, 3, padding="same")(x)
        x = keras.layers.BatchNormalization(scale=False)(x)
        x = layers.SelfBinarizingActivation()(x)
        x = keras.layers.MaxPooling2D(3)(x) if filters == 36 else x
    x = layers.SelfBinarizingConv2D(3, 2)(x)
    model = keras.Model(inputs, x)
    randomize(model, rng)
    keras_sbn.binarize(model)
    ours = keras_sbn.convert(model)

    def sign(x):
        return tf.where(x >= 0, 1.0, -1.0)

    kernels = [k.binary_kernel().astype("f4") for k in model.layers if hasattr(k, "kernel")]
    scales, offsets = [], []
    for norm in (n for n in model.layers if isinstance(n, keras.layers.BatchNormalization)):
        mean, variance, beta = (
            keras.ops.convert_to_numpy(w) for w in (norm.moving_mean, norm.moving_variance, norm.beta)
        )
        scales.append(1 / np.sqrt(variance + norm.epsilon))
        offsets.append(beta - mean * scales[-1])

    def conv(x, kernel):
        x = tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]], constant_values=1.0)
        return tf.nn.conv2d(x, kernel, 1, "VALID")

    @tf.function(input_signature=[tf.TensorSpec((1, 9, 9, 40), tf.float32)])
    def network(x):
        x = conv(sign(x), kernels[0]) * scales[0] + offsets[0]
        x = sign(tf.nn.max_pool2d(x, 3, 3, "VALID"))
        x = sign(conv(x, kernels[1]) * scales[1] + offsets[1])
        return tf.nn.conv2d(x, kernels[2], 1, "VALID")

    folder = str(tmp_path_factory.mktemp("saved_model"))
    module = tf.Module()
    module.f = network
    tf.saved_model.save(module, folder, signatures=network)
    return ours, lce.convert_saved_model(folder), images(rng, (9, 9, 40), 32)


def _operators(content):
    return [op for op in read_file(content).operators if op.name.startswith("Lce")]


def test_the_same_operators_with_the_same_options_and_types(pair):
    ours, theirs, _ = pair
    mine, other = _operators(ours.content), _operators(theirs)
    assert [op.name for op in mine] == [op.name for op in other]
    for a, b in zip(mine, other, strict=True):
        assert [t and (t.dtype, t.shape) for t in a.outputs] == [
            t and (t.dtype, t.shape) for t in b.outputs
        ]
        if a.options.get("padding") == b.options.get("padding"):
            # pad_values says nothing about a "valid" convolution.
            ignored = {"pad_values"} if a.options.get("padding") == 1 else set()
            assert {k: v for k, v in a.options.items() if k not in ignored} == {
                k: v for k, v in b.options.items() if k not in ignored
            }


def test_the_same_outputs(pair):
    from keras_sbn.tflite.interpreter import LceInterpreter

    ours, theirs, x = pair
    np.testing.assert_array_equal(LceInterpreter(theirs).predict([x])[0], ours.predict(x))


def test_no_larger_file(pair):
    ours, theirs, _ = pair
    assert len(ours.content) <= len(theirs)
