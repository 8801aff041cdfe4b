"""The end of training: hard kernels are frozen, and batch-normalization statistics accumulated."""

import itertools
import math

import keras
import numpy as np
import pytest
import small_models
from layer_cases import numpy_of
from small_models import RecordSharpness

import keras_sbn
from keras_sbn import layers
from keras_sbn.callbacks import Sharpen
from keras_sbn.schedules import Exponential

EPOCHS = 10
STEPS = 6  # 48 samples in batches of 8


class RecordEveryBatch(keras.callbacks.Callback):
    """Keeps weights of a layer as they are before every batch. Put it last."""

    def __init__(self, layer, *names):
        super().__init__()
        self.layer, self.names, self.values = layer, names, []

    def on_train_batch_begin(self, batch, logs=None):
        layer = self.model.get_layer(self.layer)
        self.values.append([numpy_of(getattr(layer, name)).copy() for name in self.names])


class RecordFreezing(keras.callbacks.Callback):
    """Keeps what was frozen and accumulated before every batch. Put it last."""

    def __init__(self):
        super().__init__()
        self.frozen, self.accumulates = [], []

    def on_train_batch_begin(self, batch, logs=None):
        self.frozen.append(self.model.get_layer("first").kernel_is_frozen)
        self.accumulates.append(self.model.get_layer("normalize_first").accumulates_statistics)


def train(network, *callbacks, epochs=EPOCHS, **options):
    x, y = small_models.data()
    options = {"batch_size": 8, "shuffle": False, "verbose": 0, **options}
    network.fit(x, y, epochs=epochs, callbacks=list(callbacks), **options)


def test_hard_kernels_are_frozen_and_offsets_go_on():
    network = small_models.model()
    network.optimizer.learning_rate.assign(0.5)
    kernels, offsets = RecordEveryBatch("first", "kernel"), RecordEveryBatch("normalize_first", "beta")
    sharpness, freezing = RecordSharpness(), RecordFreezing()
    train(network, Sharpen(freeze_at=0.9), sharpness, freezing, kernels, offsets)
    assert sharpness.values[53:] == [math.inf] * 7
    assert freezing.frozen == [False] * 54 + [True] * 6
    assert freezing.accumulates == [False] * 57 + [True] * 3
    steps = [np.abs(after[0] - before[0]).max() for before, after in itertools.pairwise(kernels.values)]
    # Without a gradient, what Adam remembers of it falls by a factor of about 0.9 a step.
    assert steps[58] < 0.75 * steps[54] < 0.75 * max(steps[:54])
    moved = [np.abs(after[0] - before[0]).max() for before, after in itertools.pairwise(offsets.values)]
    assert min(moved[54:]) > 0


def test_by_default_they_are_frozen_in_the_last_twentieth():
    freezing = RecordFreezing()
    train(small_models.model(), Sharpen(), freezing)
    assert freezing.frozen == [False] * 57 + [True] * 3


@pytest.mark.parametrize(("epochs", "frozen"), [(9, 0), (10, 1), (20, 1), (40, 2)])
def test_where_the_sharpness_changes_seldom_they_freeze_from_the_nearest_moment_on(epochs, frozen):
    freezing = RecordFreezing()
    options = {"initial_epoch": epochs - 2}
    train(small_models.model(), Sharpen(update_freq="epoch"), freezing, epochs=epochs, **options)
    assert freezing.frozen == [False] * STEPS * (2 - frozen) + [True] * STEPS * frozen


def test_frozen_kernels_have_no_gradient():
    network = small_models.model()
    network.compile(keras.optimizers.SGD(0.5), "sparse_categorical_crossentropy")
    kernels = RecordEveryBatch("second", "kernel")
    train(network, Sharpen(freeze_at=0.9), kernels)
    latents = [values[0] for values in kernels.values]
    assert all(np.any(a != b) for a, b in itertools.pairwise(latents[:54]))
    for latent in latents[54:]:
        np.testing.assert_array_equal(latent, latents[54])
    np.testing.assert_array_equal(numpy_of(network.get_layer("second").kernel), latents[54])


def test_accumulated_statistics_are_the_mean_over_the_batches_of_the_last_network():
    network = small_models.model()
    network.compile(keras.optimizers.SGD(0.5), "sparse_categorical_crossentropy")
    train(network, Sharpen(freeze_at=0.9))
    # The second half of the last tenth of 60 batches is the last three, and the kernel is frozen before.
    x, _ = small_models.data()
    sums = numpy_of(network.get_layer("first")(x[24:])).reshape(3, -1, 4)
    layer = network.get_layer("normalize_first")
    np.testing.assert_allclose(numpy_of(layer.moving_mean), sums.mean((0, 1)), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(numpy_of(layer.moving_variance), sums.var(1).mean(0), rtol=1e-4)


def test_after_training_the_network_can_be_trained_on():
    network = small_models.model()
    train(network, Sharpen(binarize=False))
    for layer in network.layers:
        if isinstance(layer, layers.BinaryBatchNormalization):
            assert float(numpy_of(layer.accumulated_batches)) == 0
            assert not layer.accumulates_statistics
        for weight in getattr(layer, "sharpness_weights", []):
            assert float(numpy_of(weight)) == math.inf
    before = numpy_of(network.get_layer("first").kernel).copy()
    train(network, epochs=1)
    assert np.any(numpy_of(network.get_layer("first").kernel) != before)


@pytest.mark.parametrize(
    "arguments",
    [{"freeze_at": None}, {"schedule": Exponential(1, 50, hard=False)}],
    ids=["none", "finite"],
)
def test_does_not_freeze(arguments):
    freezing, counts = RecordFreezing(), RecordEveryBatch("normalize_first", "accumulated_batches")
    train(small_models.model(), Sharpen(**arguments), freezing, counts)
    assert not any(freezing.frozen + freezing.accumulates)
    assert {float(values[0]) for values in counts.values} == {0}


@pytest.mark.parametrize("freeze_at", [0, 1, -0.5, 1.5])
def test_rejects_a_share_outside_of_training(freeze_at):
    with pytest.raises(ValueError, match=r"Expected `freeze_at` .*Received: freeze_at="):
        Sharpen(freeze_at=freeze_at)


def test_names_of_version_0_1_are_deprecated():
    with pytest.warns(DeprecationWarning, match="`rest_at` is `freeze_at` now"):
        assert Sharpen(rest_at=None).plan.freeze_at is None
    network = small_models.model()
    with pytest.warns(DeprecationWarning, match="`rest_at` is `freeze_at` now"):
        keras_sbn.sharpen(network, 0.92, rest_at=0.9)
    assert network.get_layer("first").kernel_is_frozen
    with pytest.warns(DeprecationWarning, match="`settle` is `accumulate_statistics` now"):
        network.get_layer("normalize_first").settle(True)
    assert network.get_layer("normalize_first").accumulates_statistics


def test_statistics_accumulate_in_the_last_epoch_where_nothing_changes_within_it():
    counts = RecordEveryBatch("normalize_first", "accumulated_batches")
    train(small_models.model(), Sharpen(update_freq="epoch"), counts)
    assert [float(values[0]) for values in counts.values[53:]] == [0, 0, 1, 2, 3, 4, 5]


def test_a_resumed_run_goes_on_accumulating(tmp_path):
    # 100 epochs: the statistics are accumulated over the last five.
    path = tmp_path / "model.keras"
    saved = keras.callbacks.ModelCheckpoint(path)

    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 98:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(small_models.model(), Sharpen(freeze_at=0.9), saved, Stop(), epochs=100, initial_epoch=95)
    counts = RecordEveryBatch("normalize_first", "accumulated_batches")
    train(keras.models.load_model(path), Sharpen(freeze_at=0.9), counts, epochs=100, initial_epoch=98)
    assert [float(values[0]) for values in counts.values] == list(range(3 * STEPS, 5 * STEPS))


def test_a_training_loop_of_ones_own_freezes():
    network = small_models.model()
    found = []
    for progress in (0.9, 0.96, 0.98):
        keras_sbn.sharpen(network, progress)
        layer, normalization = network.get_layer("first"), network.get_layer("normalize_first")
        found.append((layer.kernel_is_frozen, normalization.accumulates_statistics))
    assert found == [(False, False), (True, False), (True, True)]
    assert float(numpy_of(network.get_layer("first").kernel_sharpness)) == math.inf
    assert float(numpy_of(network.get_layer("sign_first").activation_sharpness)) == math.inf
    assert keras_sbn.binarize(network).already_binary
    assert not network.get_layer("first").kernel_is_frozen
    assert not network.get_layer("normalize_first").accumulates_statistics


def test_statistics_estimated_again_are_accumulated_no_more():
    network = small_models.model()
    x, _ = small_models.data()
    keras_sbn.sharpen(network, 0.98)
    keras_sbn.reestimate_batch_normalization(network, x)
    assert not network.get_layer("normalize_first").accumulates_statistics
    sums = numpy_of(network.get_layer("first")(x))
    moving = numpy_of(network.get_layer("normalize_first").moving_mean)
    np.testing.assert_allclose(moving, sums.mean((0, 1, 2)), rtol=1e-4, atol=1e-5)


def averaged_run(network, *callbacks, epochs=20, **options):
    """120 batches: kernels are averaged over batches 96 to 107, and frozen from 108 on."""
    train(network, *callbacks, epochs=epochs, **options)


def test_kernels_are_frozen_at_the_mean_over_as_long_a_time_before():
    network = small_models.model()
    first, dense = RecordEveryBatch("first", "kernel"), RecordEveryBatch("dense", "kernel")
    averaged_run(network, Sharpen(freeze_at=0.9), first, dense)
    for record in (first, dense):
        expected = np.mean([values[0] for values in record.values[96:108]], axis=0)
        np.testing.assert_allclose(record.values[108][0], expected, rtol=1e-4, atol=1e-6)
        assert np.any(record.values[107][0] != record.values[108][0])


def test_few_moments_are_no_mean():
    network = small_models.model()
    network.compile(keras.optimizers.SGD(0.5), "sparse_categorical_crossentropy")
    record = RecordEveryBatch("first", "kernel")
    train(network, Sharpen(freeze_at=0.9), record)  # six moments before
    steps = [np.abs(b[0] - a[0]).max() for a, b in itertools.pairwise(record.values)]
    assert steps[53] < 2 * max(steps[:53])
    np.testing.assert_array_equal(record.values[54][0], record.values[59][0])


@pytest.mark.parametrize("epoch", [17, 18], ids=["in the mean", "at the freezing"])
def test_a_run_resumed_from_its_state_freezes_at_the_mean_of_both_parts(tmp_path, epoch):
    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, now, logs=None):
            if now == epoch:
                raise KeyboardInterrupt

    path, state = tmp_path / "model.keras", tmp_path / "sharpen.json"
    before, after = RecordEveryBatch("first", "kernel"), RecordEveryBatch("first", "kernel")
    saved = keras.callbacks.ModelCheckpoint(path)
    with pytest.raises(KeyboardInterrupt):
        averaged_run(
            small_models.model(), Sharpen(freeze_at=0.9, state_path=state), saved, Stop(), before
        )
    assert state.with_suffix(".npz").exists()
    averaged_run(
        keras.models.load_model(path),
        Sharpen(freeze_at=0.9, state_path=state),
        after,
        initial_epoch=epoch,
    )
    values = [value[0] for value in before.values + after.values]
    expected = np.mean(values[96:108], axis=0)
    np.testing.assert_allclose(values[108], expected, rtol=1e-4, atol=1e-5)
    assert not state.with_suffix(".npz").exists()


def test_no_file_and_no_weight_holds_that_kernels_are_frozen(tmp_path):
    network = small_models.model()
    keras_sbn.sharpen(network, 0.99)
    weights = network.get_weights()
    assert not any(np.isneginf(weight).any() for weight in weights)
    network.save(tmp_path / "model.keras")
    # Not model.weights.h5, which Keras 3.4 removes beside a file that it loads.
    network.save_weights(tmp_path / "of.weights.h5")
    loaded, other = keras.models.load_model(tmp_path / "model.keras", compile=False), small_models.model()
    other.load_weights(tmp_path / "of.weights.h5")
    third = small_models.model()
    third.set_weights(weights)
    for model in (loaded, other, third):
        assert float(numpy_of(model.get_layer("first").kernel_sharpness)) == math.inf
        assert not model.get_layer("first").kernel_is_frozen
        assert not model.get_layer("normalize_first").accumulates_statistics
    # What a step takes along does not count as a weight.
    assert len(network.non_trainable_variables) == len(network.non_trainable_weights) + 1 + 6


def test_a_checkpoint_of_frozen_kernels_learns_and_its_statistics_move(tmp_path):
    network = small_models.model()
    train(
        network,
        Sharpen(binarize=False, freeze_at=0.5),
        keras.callbacks.ModelCheckpoint(tmp_path / "m.keras"),
    )
    loaded = keras.models.load_model(tmp_path / "m.keras")
    assert float(numpy_of(loaded.get_layer("normalize_first").accumulated_batches)) > 0
    before = numpy_of(loaded.get_layer("first").kernel).copy()
    train(loaded, epochs=1)
    assert np.any(numpy_of(loaded.get_layer("first").kernel) != before)
    assert float(numpy_of(loaded.get_layer("normalize_first").accumulated_batches)) == 0


def test_files_of_version_0_1_hold_frozen_kernels_as_minus_infinity(tmp_path):
    network = small_models.model()
    for name in ("first", "second", "dense"):
        network.get_layer(name).kernel_sharpness.assign(-math.inf)
    network.save(tmp_path / "old.keras")
    loaded = keras.models.load_model(tmp_path / "old.keras", compile=False)
    for name in ("first", "second", "dense"):
        layer = loaded.get_layer(name)
        assert float(numpy_of(layer.kernel_sharpness)) == math.inf
        assert not layer.kernel_is_frozen
    assert float(numpy_of(loaded.get_layer("sign_first").activation_sharpness)) == 1
