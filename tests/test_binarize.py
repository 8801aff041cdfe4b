import keras
import numpy as np
import pytest

import keras_sbn
from keras_sbn import layers
from keras_sbn.binarize import decisions, saturation, set_sharpness


def _dense(values):
    layer = layers.SelfBinarizingDense(len(values[0]))
    model = keras.Sequential([keras.Input((len(values),)), layer])
    layer.kernel.assign(np.array(values, "float32"))
    return model, layer


def test_says_how_far_from_binary_the_network_was_and_changes_it():
    model, layer = _dense([[1.0, -1.0], [1.0, 0.0]])
    set_sharpness(model, 20.0)
    report = keras_sbn.binarize(model)
    assert not report.already_binary
    (row,) = report.layers
    assert (row.name, row.sharpness, row.saturated_weights) == (layer.name, 20.0, 0.75)
    assert "75.000 %" in str(report)
    assert layer.is_hard
    np.testing.assert_array_equal(model.predict(np.eye(2), verbose=0), [[1, -1], [1, 1]])


def test_finds_nothing_to_change_the_second_time():
    model, _ = _dense([[1.0, -1.0]])
    keras_sbn.binarize(model)
    assert keras_sbn.binarize(model).already_binary


def test_counts_predictions_that_change():
    # Soft: 0.1 against tanh(0.05) twice; hard: +1 against -1 + 1.
    model, _ = _dense([[1.0, 1.0], [-0.01, 0.9]])
    x = np.array([[1.0, 1.0], [0.0, 1.0]], "float32")
    before = model.predict(x, verbose=0)
    report = keras_sbn.binarize(model, x)
    after = model.predict(x, verbose=0)
    expected = np.mean(before.argmax(-1) != after.argmax(-1))
    assert report.changed_predictions == expected


def test_reaches_layers_in_nested_models():
    inner = keras.Sequential([keras.Input((4,)), layers.SelfBinarizingDense(3)])
    outer = keras.Sequential([keras.Input((4,)), inner, layers.SelfBinarizingActivation()])
    report = keras_sbn.binarize(outer)
    assert len(report.layers) == 2
    assert inner.layers[0].is_hard


def test_saturation_counts_weights_near_one():
    model, layer = _dense([[1.0, 1.0, 1.0, 1e-6]])
    set_sharpness(model, 100.0)
    assert saturation(layer) == 0.75


@pytest.mark.parametrize("sharpness", [0.0, -1.0, float("nan")])
def test_refuses_a_sharpness_that_is_not_positive(sharpness):
    model, _ = _dense([[1.0]])
    with pytest.raises(ValueError, match="Expected `sharpness` to be greater than 0"):
        set_sharpness(model, sharpness)


def test_refuses_a_model_without_self_binarizing_layers():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    with pytest.raises(ValueError, match="Expected a model with self-binarizing layers"):
        keras_sbn.binarize(model)


def test_refuses_a_model_that_is_not_built():
    with pytest.raises(ValueError, match="Expected a built model"):
        keras_sbn.binarize(keras.Sequential([layers.SelfBinarizingDense(2)]))


def test_decisions_are_classes_or_the_sign_of_a_single_output():
    np.testing.assert_array_equal(decisions([[0.1, 0.7], [3.0, 2.0]]), [1, 0])
    np.testing.assert_array_equal(decisions([[-0.1], [0.0]]), [False, True])
