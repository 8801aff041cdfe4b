"""The exported archive holds all that a runtime needs: a NumPy one gives the same results."""

import json
import os

import keras
import numpy as np
import pytest
from conftest import activate, digit_network, images, randomize

import keras_sbn
from keras_sbn import layers


def _unpack(packed, channels):
    packed = np.ascontiguousarray(packed).astype("<u4").view(np.uint8)
    return 1 - 2 * np.unpackbits(packed, axis=-1, bitorder="little")[..., :channels].astype(int)


def _same_padded(x, window, pads):
    widths = [(0, 0)] + [((k - 1) // 2, k - 1 - (k - 1) // 2) for k in window] + [(0, 0)]
    shifted = np.pad(x - pads, widths)
    return shifted + pads


def _run(archive, inputs):
    """Runs an exported network of unit strides: what a user's own runtime would do."""
    graph = json.loads(str(archive["graph"]))
    values = dict(zip(graph["inputs"], inputs, strict=True))
    for node in graph["nodes"]:
        if node["op"] == "Input":
            continue
        x = values[node["inputs"][0]]

        def entry(name, node=node):
            return archive[f"{node['name']}/{name}"]

        if node["op"] == "BinaryConv2D":
            height, width, channels, filters = node["kernel_shape"]
            kernel = _unpack(entry("kernel_bits"), channels)
            assert kernel.shape == (filters, height, width, channels)
            assert node["groups"] == 1
            if node["padding"] == "same":
                x = _same_padded(x, (height, width), entry("pad_values"))
            windows = np.lib.stride_tricks.sliding_window_view(x, (height, width), axis=(1, 2))
            y = np.einsum("nijcab,fabc->nijf", windows, kernel)
        elif node["op"] == "Threshold":
            scaled = entry("direction") * x * (node["steps"] or 1)
            y = np.where(scaled >= entry("threshold"), 1, -1)
        elif node["op"] == "Affine":
            y = entry("scale") * (x - entry("center")) + entry("offset")
        elif node["op"] == "Reshape":
            y = x.reshape(len(x), *node["shape"])
        else:
            assert (node["op"], node["layer"]) == ("Keras", "MaxPooling2D")
            n, h, w, c = x.shape
            y = x[:, : h // 2 * 2, : w // 2 * 2].reshape(n, h // 2, 2, w // 2, 2, c).max(axis=(2, 4))
        if node["binary"]:
            assert set(np.unique(y)) <= {-1, 1}
        values[node["name"]] = y
    return [values[name] for name in graph["outputs"]]


def test_a_runtime_of_ones_own_gives_the_same_results(rng, tmp_path):
    model = digit_network()
    randomize(model, rng)
    keras_sbn.binarize(model)
    path = keras_sbn.export_binary(model, tmp_path / "model.npz")
    x = images(rng, (7, 6, 2))
    (found,) = _run(np.load(path), [x])
    np.testing.assert_allclose(found, model.predict(x, verbose=0), rtol=1e-5, atol=1e-5)


def test_kernels_take_a_bit_a_weight(rng, tmp_path):
    model = digit_network()
    randomize(model, rng)
    keras_sbn.binarize(model)
    archive = np.load(keras_sbn.export_binary(keras_sbn.fold(model), tmp_path / "model.npz"))
    assert archive["conv_2/kernel_bits"].dtype == np.uint32
    assert archive["conv_2/kernel_bits"].nbytes == 40 * 3 * 3 * 32 // 8
    thresholds = [archive[name] for name in archive.files if name.endswith("/threshold")]
    assert [t.dtype for t in thresholds].count(np.dtype("int32")) == 2


def test_keras_layers_come_with_their_configuration_and_weights(rng, tmp_path):
    inputs = keras.Input((6, 6, 3))
    x = keras.layers.Conv2D(4, 3, name="float_conv")(inputs)
    model = keras.Model(inputs, activate(x))
    randomize(model, rng)
    keras_sbn.binarize(model)
    archive = np.load(keras_sbn.export_binary(model, tmp_path / "model.npz"))
    nodes = {node["name"]: node for node in json.loads(str(archive["graph"]))["nodes"]}
    layer = keras.saving.deserialize_keras_object(nodes["float_conv"]["config"])
    assert isinstance(layer, keras.layers.Conv2D)
    np.testing.assert_array_equal(
        archive["float_conv/weight_0"], keras.ops.convert_to_numpy(model.layers[1].kernel)
    )


def test_the_arguments_of_a_call_come_with_it(rng, tmp_path):
    inputs = keras.Input((8,))
    x = layers.SelfBinarizingDense(4, name="dense")(inputs)
    x = keras.ops.subtract(2.0, keras.layers.Dropout(0.5, name="dropout")(x, training=True))
    model = keras.Model(inputs, x)
    randomize(model, rng)
    keras_sbn.binarize(model)
    archive = np.load(keras_sbn.export_binary(model, tmp_path / "model.npz"))
    nodes = json.loads(str(archive["graph"]))["nodes"]
    dropout, subtract = (node for node in nodes if node["op"] == "Keras")
    assert dropout["arguments"] == [[{"input": 0}], {"training": True}]
    assert subtract["arguments"] == [[2.0, {"input": 0}], {}]


def test_an_argument_that_json_cannot_hold_is_refused(tmp_path):
    inputs = keras.Input((3,))
    x = keras.ops.add(layers.SelfBinarizingDense(3)(inputs), np.ones(3, "float32"))
    model = keras.Model(inputs, x)
    keras_sbn.binarize(model)
    with pytest.raises(ValueError, match=r"Expected layer 'add.*' to be called with numbers"):
        keras_sbn.export_binary(model, tmp_path / "model.npz")


def test_a_folder_that_is_not_there_leaves_nothing(tmp_path):
    model = keras.Sequential([keras.Input((4,)), layers.SelfBinarizingDense(2)])
    keras_sbn.binarize(model)
    with pytest.raises(OSError, match="Expected a folder that can be written"):
        keras_sbn.export_binary(model, tmp_path / "missing" / "model.npz")
    assert os.listdir(tmp_path) == []
