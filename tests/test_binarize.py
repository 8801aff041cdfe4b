"""Making a network hard, and the batch-normalization statistics that belong to it."""

import keras
import numpy as np
import pytest
import small_models

import keras_sbn
from keras_sbn.binarize import (
    decisions,
    predicted_classes,
    saturation,
    self_binarizing_layers,
    set_sharpness,
    sharpness_weights,
)


def numbers(weight):
    return keras.ops.convert_to_numpy(weight)


def test_set_sharpness_reaches_every_layer():
    network = small_models.model()
    set_sharpness(network, 5.0)
    assert [layer.name for layer in self_binarizing_layers(network)] == [
        "first",
        "sign_first",
        "second",
        "dense",
    ]
    assert [float(numbers(weight)) for weight in sharpness_weights(network)] == [5.0] * 5
    for bad in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match=r"Expected `sharpness` .*Received"):
            set_sharpness(network, bad)


def test_binarize_reports_what_it_changed():
    x, _ = small_models.data(100)
    network = small_models.model()
    set_sharpness(network, 0.5)
    soft = predicted_classes(network, x)
    report = keras_sbn.binarize(network, x)
    hard = predicted_classes(network, x)
    assert report.changed_predictions == np.mean(soft != hard) > 0
    assert not report.already_binary
    assert report.layers[0].sharpness == 0.5
    assert report.layers[0].saturated_weights == 0
    assert report.layers[1].saturated_weights is None
    assert "first" in str(report)
    assert f"{100 * report.changed_predictions:.3f} %" in str(report)
    again = keras_sbn.binarize(network, x)
    assert again.already_binary
    assert again.changed_predictions == 0
    assert again.layers[0].saturated_weights == 1


def test_saturation_counts_weights_within_a_thousandth():
    network = small_models.model()
    layer = network.get_layer("dense")
    set_sharpness(network, 3.0)
    kernel = numbers(layer.kernel)
    expected = np.mean(np.abs(np.tanh(3 * kernel / np.sqrt(np.mean(kernel**2)))) >= 0.999)
    assert saturation(layer) == pytest.approx(expected)
    assert saturation(network.get_layer("sign_first")) is None


def test_decisions():
    np.testing.assert_array_equal(decisions([[0.1, 0.7, 0.2], [1, 0, 0]]), [1, 0])
    np.testing.assert_array_equal(decisions([[-0.5], [0.0], [2.0]]), [False, True, True])


def test_predicted_classes_of_every_kind_of_data():
    tf = pytest.importorskip("tensorflow")
    x, y = small_models.data()
    network = small_models.model()
    expected = predicted_classes(network, x)
    assert expected.shape == (48,)
    np.testing.assert_array_equal(predicted_classes(network, (x, y)), expected)
    dataset = tf.data.Dataset.from_tensor_slices((x, y)).batch(16)
    np.testing.assert_array_equal(predicted_classes(network, dataset), expected)
    double = keras.Model(network.inputs, network.outputs * 2)
    np.testing.assert_array_equal(predicted_classes(double, x), [*expected, *expected])


def test_predicted_classes_of_a_model_without_self_binarizing_layers_is_an_error_in_binarize():
    plain = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)], name="plain")
    with pytest.raises(ValueError, match=r"Expected a model with self-binarizing layers .*'plain'"):
        keras_sbn.binarize(plain)
    unbuilt = keras.Sequential([keras_sbn.layers.SelfBinarizingDense(2)])
    with pytest.raises(ValueError, match="Expected a built model"):
        keras_sbn.binarize(unbuilt)


@pytest.fixture(params=["keras", "keras_sbn"])
def batch_normalization(request):
    if request.param == "keras":
        return keras.layers.BatchNormalization
    return keras_sbn.layers.BinaryBatchNormalization


def test_statistics_are_those_of_the_data(batch_normalization):
    rng = np.random.default_rng(0)
    x = rng.normal([1, -2, 3], [0.5, 2, 1], size=(50, 3)).astype("float32")
    network = keras.Sequential([keras.Input((3,)), batch_normalization()])
    # The last batch is smaller; what is estimated is the population, not a mean of batches.
    assert keras_sbn.reestimate_batch_normalization(network, x, batch_size=16) == 1
    layer = network.layers[0]
    np.testing.assert_allclose(numbers(layer.moving_mean), x.mean(0), rtol=1e-5)
    np.testing.assert_allclose(numbers(layer.moving_variance), x.var(0), rtol=1e-5)


def test_statistics_of_one_batch_make_inference_equal_to_training(batch_normalization):
    x, _ = small_models.data()
    network = small_models.model(batch_normalization=batch_normalization)
    network.get_layer("dropout").rate = 0.0
    keras_sbn.binarize(network)
    in_training = numbers(network(x, training=True))
    assert not np.allclose(numbers(network(x, training=False)), in_training, atol=0.05)
    assert keras_sbn.reestimate_batch_normalization(network, x) == 3
    np.testing.assert_allclose(numbers(network(x, training=False)), in_training, atol=1e-5)


def test_other_layers_are_in_inference_mode_and_nothing_else_changes():
    x = np.full((64, 8), 1.0, "float32")
    frozen = keras.layers.BatchNormalization(trainable=False)
    network = keras.Sequential(
        [
            keras.Input((8,)),
            keras.layers.Dropout(0.5),
            keras.layers.BatchNormalization(momentum=0.7),
            frozen,
        ]
    )
    layer = network.layers[1]
    assert keras_sbn.reestimate_batch_normalization(network, x) == 1
    np.testing.assert_allclose(numbers(layer.moving_mean), 1)
    np.testing.assert_allclose(numbers(layer.moving_variance), 0, atol=1e-6)
    np.testing.assert_allclose(numbers(frozen.moving_mean), 0)
    assert layer.momentum == 0.7
    assert "call" not in vars(layer)


def test_nested_models_datasets_and_steps():
    tf = pytest.importorskip("tensorflow")
    inner = keras.Sequential([keras_sbn.layers.BinaryBatchNormalization()])
    network = keras.Sequential([keras.Input((2,)), inner])
    x = np.arange(24, dtype="float32").reshape(12, 2)
    layer = inner.layers[0]
    dataset = tf.data.Dataset.from_tensor_slices((x, x)).batch(4)
    for data in (dataset, (x, x), x):
        keras_sbn.reestimate_batch_normalization(network, data, batch_size=4)
        np.testing.assert_allclose(numbers(layer.moving_mean), x.mean(0))
        np.testing.assert_allclose(numbers(layer.moving_variance), x.var(0), rtol=1e-6)
    keras_sbn.reestimate_batch_normalization(network, dataset.repeat(), steps=2)
    np.testing.assert_allclose(numbers(layer.moving_mean), x[:8].mean(0))


class Batches(keras.utils.PyDataset):
    @property
    def num_batches(self):
        return 3

    def __getitem__(self, index):
        return np.full((4, 2), float(index)), np.zeros(4)


def test_py_dataset_and_several_inputs():
    network = keras.Sequential([keras.Input((2,)), keras_sbn.layers.BinaryBatchNormalization()])
    keras_sbn.reestimate_batch_normalization(network, Batches())
    np.testing.assert_allclose(numbers(network.layers[0].moving_mean), 1)

    inputs = {"a": keras.Input((2,), name="a"), "b": keras.Input((2,), name="b")}
    layer = keras_sbn.layers.BinaryBatchNormalization()
    network = keras.Model(inputs, layer(inputs["a"] - inputs["b"]))
    arrays = {"a": np.full((5, 2), 3.0), "b": np.full((5, 2), 1.0)}
    keras_sbn.reestimate_batch_normalization(network, arrays)
    np.testing.assert_allclose(numbers(layer.moving_mean), 2)


def test_reestimate_without_anything_to_do_or_with():
    plain = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    assert keras_sbn.reestimate_batch_normalization(plain, np.ones((2, 2))) == 0
    network = keras.Sequential([keras.Input((2,)), keras_sbn.layers.BinaryBatchNormalization()])
    with pytest.raises(ValueError, match="Expected `data` to have at least one batch"):
        keras_sbn.reestimate_batch_normalization(network, np.ones((0, 2)))
    with pytest.raises(ValueError, match=r"Expected `steps` .*Received: steps=0"):
        keras_sbn.reestimate_batch_normalization(network, np.ones((2, 2)), steps=0)


def test_an_error_leaves_the_statistics_as_they_were():
    network = keras.Sequential([keras.Input((2,)), keras_sbn.layers.BinaryBatchNormalization()])
    layer = network.layers[0]

    class Broken(keras.utils.PyDataset):
        num_batches = 2

        def __getitem__(self, index):
            if index:
                raise OSError("the disk is gone")
            return np.ones((4, 2))

    with pytest.raises(OSError, match="disk"):
        keras_sbn.reestimate_batch_normalization(network, Broken())
    np.testing.assert_array_equal(numbers(layer.moving_mean), 0)
    assert layer.momentum == 0.9


def test_agreement_is_the_share_of_equal_decisions():
    def model(weights):
        network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, use_bias=False)])
        network.set_weights([np.array(weights, "float32")])
        return network

    x = np.array([[1, 0], [0, 1], [3, 1], [1, 3]], "float32")
    straight, crossed = model([[1, 0], [0, 1]]), model([[1, 2], [0, 1]])
    assert keras_sbn.agreement(straight, straight, x) == 1.0
    # The second network decides for class 1 throughout.
    assert keras_sbn.agreement(straight, crossed, x) == 0.5
    assert keras_sbn.agreement(straight, straight, x, x[::-1]) == 0.0
