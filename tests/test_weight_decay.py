"""Weight decay of latent kernels: it changes their length, and nothing that the network computes."""

import math
import warnings

import keras
import numpy as np
import pytest
import small_models
from layer_cases import numpy_of

from keras_sbn import layers
from keras_sbn.binarize import sharpness_weights
from keras_sbn.callbacks import Sharpen
from keras_sbn.weight_decay import WEIGHT_DECAY, decay_kernels

EPOCHS = 10
STEPS = 6  # 48 samples in batches of 8
RATE = 0.5


def fit_without_gradient(network, sharpen, optimizer=None, epochs=EPOCHS, **options):
    """Trains with samples of no weight, so that only the decay moves a kernel."""
    x, y = small_models.data()
    network.compile(optimizer or keras.optimizers.SGD(RATE), "sparse_categorical_crossentropy")
    options = {"batch_size": 8, "shuffle": False, "verbose": 0, **options}
    network.fit(x, y, sample_weight=np.zeros(len(x)), epochs=epochs, callbacks=[sharpen], **options)


def kernel_of(network, layer):
    return numpy_of(network.get_layer(layer).kernel).copy()


@pytest.mark.parametrize("sharpness", [1.0, 30.0, math.inf])
def test_the_network_computes_the_same(sharpness):
    network = small_models.model()
    x, _ = small_models.data()
    for weight in sharpness_weights(network):
        weight.assign(sharpness)
    before = network.predict(x, verbose=0)
    kernels = [network.get_layer(name).kernel for name in ("first", "second", "dense")]
    lengths = [np.linalg.norm(numpy_of(kernel)) for kernel in kernels]
    decay_kernels(kernels, network.optimizer, weight_decay=2.0, steps=50)
    after = network.predict(x, verbose=0)
    if math.isinf(sharpness):
        np.testing.assert_array_equal(after, before)
    else:
        np.testing.assert_allclose(after, before, atol=1e-4)
    for kernel, length in zip(kernels, lengths, strict=True):
        np.testing.assert_allclose(np.linalg.norm(numpy_of(kernel)), length * math.exp(-1), rtol=1e-5)


@pytest.mark.parametrize("update_freq", ["batch", "epoch", 4])
def test_kernels_decay_with_the_learning_rate_until_they_are_frozen(update_freq):
    network = small_models.model()
    before = kernel_of(network, "second")
    fit_without_gradient(network, Sharpen(update_freq=update_freq, freeze_at=0.9))
    # They rest from batch 54 of 60 on, or the nearest change of the sharpness; at the change before they
    # decayed for the batches behind.
    last = {"batch": 53, "epoch": 48, 4: 48}[update_freq]
    expected = before * math.exp(-WEIGHT_DECAY * RATE * last)
    np.testing.assert_allclose(kernel_of(network, "second"), expected, rtol=1e-5)


def test_without_rest_they_decay_to_the_end():
    network = small_models.model()
    before = kernel_of(network, "dense")
    fit_without_gradient(network, Sharpen(freeze_at=None, weight_decay=0.3))
    expected = before * math.exp(-0.3 * RATE * (EPOCHS * STEPS - 1))
    np.testing.assert_allclose(kernel_of(network, "dense"), expected, rtol=1e-5)


@pytest.mark.parametrize("weight_decay", [None, 0, 0.0])
def test_none(weight_decay):
    network = small_models.model()
    before = kernel_of(network, "first")
    fit_without_gradient(network, Sharpen(weight_decay=weight_decay))
    np.testing.assert_array_equal(kernel_of(network, "first"), before)


def test_the_learning_rate_of_the_moment_counts():
    network = small_models.model()
    before = kernel_of(network, "first")
    rate = keras.optimizers.schedules.PiecewiseConstantDecay([STEPS, 2 * STEPS], [0.5, 0.25, 0.0])
    fit_without_gradient(network, Sharpen(update_freq="epoch"), keras.optimizers.SGD(rate))
    # At the start of an epoch the schedule still gives the rate of the epoch before.
    expected = before * math.exp(-WEIGHT_DECAY * STEPS * (0.5 + 0.25))
    np.testing.assert_allclose(kernel_of(network, "first"), expected, rtol=1e-5)


def test_gradient_accumulation_makes_fewer_steps():
    network = small_models.model()
    before = kernel_of(network, "first")
    optimizer = keras.optimizers.SGD(RATE, gradient_accumulation_steps=3)
    fit_without_gradient(network, Sharpen(freeze_at=None), optimizer)
    expected = before * math.exp(-WEIGHT_DECAY * RATE * 59 / 3)
    np.testing.assert_allclose(kernel_of(network, "first"), expected, rtol=1e-5)


def test_what_depends_on_its_length_keeps_it():
    kinds = {
        "raw": {"normalize_kernel": False},
        "scaled": {"kernel_scale": "mean"},
        "frozen": {"trainable": False},
        "float": {"binarize_kernel": False},
        "learned": {"kernel_scale": "learned"},
    }
    network = keras.Sequential([keras.Input((6, 6, 1)), keras.layers.Flatten()])
    for name, arguments in kinds.items():
        network.add(layers.SelfBinarizingDense(8, name=name, **arguments))
    network.add(layers.SelfBinarizingDense(4, name="plain"))
    network.add(keras.layers.Softmax())
    before = {name: kernel_of(network, name) for name in (*kinds, "plain")}
    with pytest.warns(UserWarning, match=r"Layers \['frozen'\] have trainable=False and are soft"):
        fit_without_gradient(network, Sharpen())
    shrunk = {name for name, kernel in before.items() if np.any(kernel_of(network, name) != kernel)}
    assert shrunk == {"learned", "plain"}


def test_separable_layers_decay_both_kernels():
    network = keras.Sequential(
        [
            keras.Input((6, 6, 1)),
            layers.SelfBinarizingSeparableConv2D(4, 3, name="separable"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Softmax(),
        ]
    )
    layer = network.get_layer("separable")
    before = [numpy_of(layer.depthwise_kernel).copy(), numpy_of(layer.pointwise_kernel).copy()]
    fit_without_gradient(network, Sharpen(freeze_at=None))
    factor = math.exp(-WEIGHT_DECAY * RATE * 59)
    for kernel, was in zip((layer.depthwise_kernel, layer.pointwise_kernel), before, strict=True):
        np.testing.assert_allclose(numpy_of(kernel), was * factor, rtol=1e-5)


@pytest.mark.parametrize("trained_before", [False, True])
def test_epochs_of_unknown_length(trained_before):
    tf = pytest.importorskip("tensorflow")
    x, y = small_models.data()
    samples = tf.data.Dataset.from_tensor_slices((x, y, np.zeros(len(x), "float32"))).batch(8)
    samples = samples.filter(lambda *batch: True)  # Its length is unknown from here on.
    network = small_models.model()
    network.compile(keras.optimizers.SGD(RATE), "sparse_categorical_crossentropy")
    options = {"verbose": 0, "shuffle": False}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Your input ran out of data")  # how Keras finds out the length
        if trained_before:
            network.fit(samples, epochs=3, callbacks=[Sharpen(freeze_at=None)], **options)
        before = kernel_of(network, "first")
        network.fit(samples, epochs=4, callbacks=[Sharpen(freeze_at=None)], **options)
    # Keras may begin a step before it finds that there are no samples for it, and counts it.
    steps = int(numpy_of(network.optimizer.iterations)) // (7 if trained_before else 4)
    assert steps in (STEPS, STEPS + 1)
    expected = before * math.exp(-WEIGHT_DECAY * RATE * 3 * steps)
    np.testing.assert_allclose(kernel_of(network, "first"), expected, rtol=1e-5)


# The network that the training is resumed from is soft, and meant to be.
@pytest.mark.filterwarnings("ignore:A network that was saved in this training was soft")
@pytest.mark.parametrize("update_freq", ["batch", "epoch", 4])
def test_a_resumed_training_ends_with_the_same_kernels(tmp_path, update_freq):
    path = tmp_path / "checkpoint.keras"
    x, y = small_models.data()

    def train(network, *callbacks, **options):
        sharpen = Sharpen(update_freq=update_freq, freeze_at=None, weight_decay=5.0)
        options = {"epochs": 6, "batch_size": 8, "shuffle": False, "verbose": 0, **options}
        network.get_layer("dropout").rate = 0.0
        network.fit(x, y, callbacks=[sharpen, *callbacks], **options)
        return [numpy_of(weight) for weight in network.weights]

    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 2:
                self.model.save(path)

    expected = train(small_models.model(), Stop())
    resumed = train(keras.saving.load_model(path), initial_epoch=3)
    for weight, other in zip(resumed, expected, strict=True):
        np.testing.assert_allclose(weight, other, rtol=1e-6, atol=1e-7)


def test_training_keeps_kernels_short():
    lengths = {}
    for weight_decay in (None, 5.0):
        network = small_models.model(learning_rate=0.05)
        x, y = small_models.data()
        network.fit(
            x, y, batch_size=8, epochs=20, verbose=0, callbacks=[Sharpen(weight_decay=weight_decay)]
        )
        lengths[weight_decay] = np.sqrt(np.mean(kernel_of(network, "second") ** 2))
    assert lengths[5.0] < 0.5 * lengths[None]


@pytest.mark.parametrize("weight_decay", [-0.1, math.inf, math.nan, "0.1", True])
def test_bad_values(weight_decay):
    with pytest.raises(ValueError, match=r"Expected `weight_decay`.*weight_decay="):
        Sharpen(weight_decay=weight_decay)
