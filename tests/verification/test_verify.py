from dataclasses import replace

import keras
import numpy as np
import pytest
from conftest import digit_network, images, randomize

import keras_sbn


@pytest.fixture
def converted(rng):
    model = digit_network()
    randomize(model, rng)
    keras_sbn.binarize(model)
    return keras_sbn.convert(model), model


def test_is_true_where_nothing_differs(converted, rng):
    result = keras_sbn.verify(*converted, images(rng, (7, 6, 2)))
    assert result
    assert (result.samples, result.differing_decisions, result.first_difference) == (64, 0, None)
    assert str(result).startswith("64 samples: 0 decisions differ")


def test_says_where_the_first_difference_is(converted, rng):
    file, model = converted
    x = images(rng, (7, 6, 2))
    expected = model.predict(x, verbose=0)
    # The same network with its classes in another order decides otherwise on every sample.
    bias = model.get_layer("logits").beta
    bias.assign(keras.ops.convert_to_numpy(bias) + np.array([0.0, 0.0, 100.0], "float32"))
    result = keras_sbn.verify(file, model, x)
    wrong = np.flatnonzero(expected.argmax(-1) != 2)
    assert not result
    assert result.differing_decisions == len(wrong)
    assert result.first_difference.sample == wrong[0]
    assert f"first difference: sample {wrong[0]}, output 0" in str(result)
    assert 99 < result.largest_difference < 101


def test_a_damaged_file_does_not_pass(converted, rng):
    file, model = converted
    content = bytearray(file.content)
    kernel = keras_sbn.bits.pack(
        keras.ops.convert_to_numpy(keras_sbn.fold(model).get_layer("dense_2").kernel).transpose(
            3, 0, 1, 2
        )
    ).tobytes()
    at = content.index(kernel)
    for i in range(len(kernel)):
        content[at + i] ^= 0xFF if i % 8 < 4 else 0
    result = keras_sbn.verify(replace(file, content=bytes(content)), model, images(rng, (7, 6, 2)))
    assert not result
    assert result.first_differing_layer == "dense_2"
    assert "first layer that differs: dense_2" in str(result)


@pytest.mark.parametrize("target", ["lce", "tflite"])
@pytest.mark.parametrize("layer", ["conv_2", "dense_1"])
def test_names_the_first_layer_that_differs(layer, target, converted, rng):
    """The file of a network with other kernels in one layer, whose threshold is what the file writes."""
    _, model = converted
    x = images(rng, (7, 6, 2), 16)
    other = keras.models.clone_model(model)
    other.set_weights(model.get_weights())
    other.get_layer(layer).kernel.assign(-other.get_layer(layer).kernel)
    folded = keras_sbn.fold(model)
    names = [found.name for found in folded.layers]
    following = names[names.index(layer) + 1]
    result = keras_sbn.verify(keras_sbn.convert(other, target=target), model, x)
    assert not result
    assert result.first_differing_layer == following


def test_a_model_that_is_still_soft_differs_without_a_layer(converted, rng):
    file, model = converted
    soft = keras.models.clone_model(model)
    randomize(soft, rng)
    for weight in soft.weights:
        if weight.name.endswith("_sharpness"):
            weight.assign(1.0)
    result = keras_sbn.verify(file, soft, images(rng, (7, 6, 2)))
    assert not result
    assert result.first_differing_layer is None


def test_workers_and_batches_find_the_same(converted, rng, capsys):
    file, model = converted
    x = images(rng, (7, 6, 2))
    bias = model.get_layer("logits").beta
    bias.assign(keras.ops.convert_to_numpy(bias) + np.array([0.0, 0.0, 99.0], "float32"))
    whole = keras_sbn.verify(file, model, x)
    parts = keras_sbn.verify(file, model, x, batch_size=10, workers=2, progress=True)
    assert whole.differing_decisions == parts.differing_decisions > 0
    assert whole.first_difference.sample == parts.first_difference.sample
    assert whole.differing_outputs == parts.differing_outputs
    assert whole.to_dict()["first_difference"]["output"] == 0
    assert "verify 64/64 [##############################]" in capsys.readouterr().err
    stream = ((x[i : i + 7], None) for i in range(0, 64, 7))
    assert keras_sbn.verify(file, model, stream).differing_decisions == whole.differing_decisions


@pytest.mark.parametrize("wrong", [{"batch_size": 0}, {"workers": -1}])
def test_numbers_that_are_not_positive(converted, wrong, rng):
    with pytest.raises(ValueError, match="to be positive"):
        keras_sbn.verify(*converted, images(rng, (7, 6, 2), 4), **wrong)


@pytest.mark.parametrize("share", [-0.1, 1.5])
def test_a_required_agreement_that_is_no_share(share, converted, rng):
    with pytest.raises(
        ValueError, match=f"to be a share, from 0 to 1. Received: required_agreement={share}"
    ):
        keras_sbn.verify(*converted, images(rng, (7, 6, 2), 4), required_agreement=share)


def test_needs_samples(converted):
    with pytest.raises(ValueError, match="Expected at least one sample"):
        keras_sbn.verify(*converted, np.zeros((0, 7, 6, 2), "float32"))
