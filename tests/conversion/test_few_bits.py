"""Binary kernels in 4 and 2 bits, as FULLY_CONNECTED: the same integers."""

import importlib
import os

import keras
import numpy as np
import pytest
from conftest import activate, images, needs_new_litert, randomize
from hypothesis import given
from hypothesis import strategies as st
from random_networks import binary_network, drawing, made_or_none

import keras_sbn
from keras_sbn import layers
from keras_sbn.bits import pack_integers, unpack_integers
from keras_sbn.tflite.places import oldest_litert
from keras_sbn.tflite.reader import read_file

pytestmark = needs_new_litert
K = keras.layers
#: More of them: KERAS_SBN_FUZZ=100.
NETWORKS = int(os.environ.get("KERAS_SBN_FUZZ", "6"))


@pytest.fixture(scope="module")
def network():
    """Every geometry of a window, padding of all kinds, groups, and dense layers; sums at the end."""
    inputs = x = keras.Input((9, 8, 4))
    x = layers.SelfBinarizingActivation()(x)
    for name, options in (
        ("same", {"padding": "same"}),
        ("zeros", {"padding": "same", "pad_value": 0.0}),
        ("minus", {"padding": "same", "pad_value": -1.0, "strides": 2}),
        ("dilated", {"padding": "same", "dilation_rate": 2}),
        ("grouped", {"padding": "same", "groups": 2}),
        ("valid", {}),
    ):
        x = activate(layers.SelfBinarizingConv2D(6, 3, name=name, **options)(x))
    x = activate(layers.SelfBinarizingConv2D(5, 1, name="pointwise")(x))
    x = activate(layers.SelfBinarizingDense(9, name="flat")(K.Flatten()(x)))
    x = activate(layers.SelfBinarizingDense(7, name="hidden")(x))
    model = keras.Model(inputs, layers.SelfBinarizingDense(3, name="sums")(x))
    randomize(model, np.random.default_rng(0))
    keras_sbn.binarize(model)
    return model


#: The layers whose kernels have fewer bits.
_ALL = {"same", "zeros", "minus", "dilated", "valid", "pointwise", "flat", "hidden"}
_DENSE = {"flat", "hidden"}


@pytest.mark.tensorflow
def test_fewer_bits_change_no_output(network, rng):
    model, x = network, images(rng, (9, 8, 4), 8)
    expected = keras.ops.convert_to_numpy(model(x))
    sizes = {}
    for bits, few, each in ((8, set(), 8), (4, _ALL, 4), (2, _ALL, 2), ("auto", _DENSE, 2)):
        converted = keras_sbn.convert(model, "tflite", weight_bits=bits)
        # Without XNNPACK too: see conftest.
        np.testing.assert_array_equal(converted.predict(x), expected)
        rows = {row.name: row for row in converted.report.layers if row.weights}
        stored = {name: 8 * row.kernel_bytes / row.weights for name, row in rows.items()}
        assert {name for name in stored if stored[name] < 7} == few
        assert all(stored[name] < each + 1 for name in few)
        assert all(rows[name].kind == "binary" for name in few)
        assert ("no groups" in rows["grouped"].reason) == (bits in (4, 2))
        assert converted.report.oldest_runtime == ("LiteRT 2.1.0" if each == 2 else "")
        assert ("refuses the file" in str(converted.report)) == (each == 2)
        # A slice for each of the nine places of a window.
        assert ("PAD + 9 SLICE + CONCATENATION + FULLY_CONNECTED" in str(converted.report)) == (
            bits in (4, 2)
        )
        sizes[bits] = sum(row.kernel_bytes for row in rows.values())
        again = keras_sbn.inspect(converted)
        kinds = {row.name.split("_sign")[0]: row.kind for row in again.layers if row.weights}
        assert sum(kind == "binary" for kind in kinds.values()) >= len(few)
    assert sizes[8] > sizes["auto"] > sizes[4] > sizes[2]


@pytest.mark.tensorflow
def test_fewer_bits_change_no_output_of_random_networks():
    fewer = set()

    @drawing(NETWORKS)
    @given(st.data())
    def check(data):
        model, x = binary_network(data.draw, max_blocks=3)
        whole = made_or_none(lambda: keras_sbn.convert(model, "tflite"), model)
        if whole is None:
            return
        expected = keras.tree.flatten(whole.predict(x))
        for bits in (4, 2, "auto"):
            converted = keras_sbn.convert(model, "tflite", weight_bits=bits)
            received = keras.tree.flatten(converted.predict(x))
            for a, b in zip(received, expected, strict=True):
                np.testing.assert_array_equal(a, b, err_msg=str(bits))
            if len(converted.content) != len(whole.content):
                fewer.add(bits)
        keras.utils.clear_session()

    check()
    assert fewer == {4, 2, "auto"}


def test_the_weights_are_read_back(network):
    converted = keras_sbn.convert(network, "tflite", weight_bits=2)
    whole = keras_sbn.convert(network, "tflite")
    found = [
        tensor
        for op in read_file(converted.content).operators
        for tensor in op.inputs
        if tensor is not None and tensor.dtype == "int2"
    ]
    assert len(found) == len(_ALL)
    assert all(set(np.unique(tensor.values())) == {-1, 1} for tensor in found)
    assert sum(row.weights for row in converted.report.layers) == whole.report.weights


@pytest.mark.parametrize(
    ("target", "bits"), [("tflite", 3), ("tflite", "few"), ("lce", 4), ("lce", "auto")]
)
def test_other_bits_are_refused(target, bits, network):
    with pytest.raises(ValueError, match=f"weight_bits={bits!r}"):
        keras_sbn.convert(network, target, weight_bits=bits)


def test_a_runtime_that_is_too_old_is_told(network, monkeypatch):
    # The package has a function of the same name.
    module = importlib.import_module("keras_sbn.conversion.convert")
    monkeypatch.setattr(module, "can_open", lambda *_: "Didn't find op for builtin opcode")
    with pytest.raises(ValueError, match=r"needs LiteRT 2\.1\.0 or later: pip install --upgrade"):
        keras_sbn.convert(network, "tflite", weight_bits=2)
    with pytest.raises(ValueError, match="report this as a bug"):
        keras_sbn.convert(network, "tflite", weight_bits=8)


def test_int4_needs_no_newer_runtime(network):
    assert oldest_litert(read_file(keras_sbn.convert(network, "tflite", weight_bits=4).content)) == ""


@pytest.mark.parametrize("bits", [2, 4])
@pytest.mark.parametrize("count", [0, 1, 7, 8, 33])
def test_packed_integers_unpack(bits, count, rng):
    values = rng.integers(-(2 ** (bits - 1)), 2 ** (bits - 1), count).astype(np.int8)
    packed = pack_integers(values, bits)
    assert packed.dtype == np.uint8
    assert packed.size == -(-count * bits // 8)
    np.testing.assert_array_equal(unpack_integers(packed, bits, count), values)


def test_integers_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"in \[-2, 1\], which 2 bits hold"):
        pack_integers(np.array([2]), 2)
    with pytest.raises(ValueError, match="Expected 9 integers of 4 bits"):
        unpack_integers(np.zeros(4, np.uint8), 4, 9)
