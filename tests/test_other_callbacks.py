"""Sharpen beside the callbacks of Keras that change weights or end a training, in either order."""

import math
import warnings

import keras
import numpy as np
import pytest
import small_models
from layer_cases import numpy_of

import keras_sbn
from keras_sbn.binarize import predicted_classes
from keras_sbn.callbacks import HardValidation, Sharpen
from keras_sbn.schedules import Exponential, Piecewise

ORDERS = pytest.mark.parametrize("sharpen_first", [True, False], ids=["Sharpen first", "Sharpen last"])


def fit(network, sharpen, other, sharpen_first, *more, epochs=4, **options):
    x, y = small_models.data()
    pair = [sharpen, other] if sharpen_first else [other, sharpen]
    options = {"batch_size": 16, "verbose": 0, "shuffle": False, **options}
    return network.fit(x, y, epochs=epochs, callbacks=[*more, *pair], **options)


def sharpness_of(network):
    return {
        float(numpy_of(w)) for layer in network.layers for w in getattr(layer, "sharpness_weights", [])
    }


class Score(keras.callbacks.Callback):
    """Logs given scores as `score`, and keeps the weights after every epoch. Put it first."""

    def __init__(self, *scores):
        super().__init__()
        self.scores, self.weights = scores, []

    def on_epoch_end(self, epoch, logs=None):
        logs["score"] = self.scores[epoch]
        self.weights.append([np.array(numpy_of(w)) for w in self.model.weights])


def best(**options):
    return keras.callbacks.EarlyStopping(
        monitor="score", mode="max", restore_best_weights=True, **{"patience": 1, **options}
    )


def latent(network):
    return numpy_of(network.get_layer("first").kernel)


def kernel_of(weights):
    return next(w for w in weights if w.shape == (3, 3, 1, 4))


@ORDERS
@pytest.mark.parametrize("with_data", [True, False], ids=["data", "no data"])
def test_a_soft_epoch_that_early_stopping_restores_is_made_hard_and_reported(sharpen_first, with_data):
    x, _ = small_models.data(200, seed=1)
    network = small_models.model(learning_rate=0.05)
    # Soft in the first epochs, hard in the last two; the first is the best.
    sharpen = Sharpen(Piecewise([0.5], [0.7, 1e9]), freeze_at=None, data=x if with_data else None)
    score = Score(3, 2, 1, 0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(network, sharpen, best(patience=9), sharpen_first, score)
    np.testing.assert_array_equal(latent(network), kernel_of(score.weights[0]))
    assert sharpness_of(network) == {math.inf}
    assert not sharpen.report.already_binary
    assert {round(layer.sharpness, 5) for layer in sharpen.report.layers} == {0.7}
    messages = [str(one.message) for one in caught if "Another network was put" in str(one.message)]
    assert len(messages) == 1
    assert "it was soft (sharpness 0.7) and is hard now" in messages[0]
    kernels = [layer.kernel for layer in network.layers if hasattr(layer, "kernel")]
    assert f"of {sum(int(np.prod(k.shape)) for k in kernels):,} kernel values" in messages[0]
    if not with_data:
        assert sharpen.report.changed_predictions is None
        assert "give Sharpen `data`" in messages[0]
        return
    soft = small_models.model()
    soft.set_weights(score.weights[0])
    hard = small_models.model()
    hard.set_weights(score.weights[0])
    keras_sbn.binarize(hard)
    changed = np.mean(predicted_classes(soft, x) != predicted_classes(hard, x))
    assert sharpen.report.changed_predictions == pytest.approx(changed)
    assert changed > 0
    assert f"it changed {100 * changed:.2f} % of the predictions" in messages[0]
    # The statistics are those of the network that was restored.
    keras_sbn.reestimate_batch_normalization(hard, x)
    for found, expected in zip(network.get_weights(), hard.get_weights(), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@ORDERS
def test_a_hard_epoch_that_early_stopping_restores_is_left_hard_without_a_warning(sharpen_first):
    network, score = small_models.model(), Score(0, 1, 3, 2)
    sharpen = Sharpen(lambda progress: math.inf, freeze_at=0.9)
    fit(network, sharpen, best(), sharpen_first, score)
    np.testing.assert_array_equal(latent(network), kernel_of(score.weights[2]))
    assert sharpness_of(network) == {math.inf}
    assert sharpen.report.already_binary


@ORDERS
def test_a_restored_epoch_of_frozen_kernels_learns(sharpen_first):
    network, score = small_models.model(), Score(0, 0, 0, 3, 2)
    sharpen = Sharpen(lambda progress: math.inf, freeze_at=0.5)
    fit(network, sharpen, best(patience=9), sharpen_first, score, epochs=5)
    layer = network.get_layer("first")
    assert not layer.kernel_is_frozen
    assert not network.get_layer("normalize_first").accumulates_statistics
    before = latent(network).copy()
    fit(network, keras.callbacks.Callback(), keras.callbacks.Callback(), True, epochs=1)
    assert np.any(latent(network) != before)


@ORDERS
def test_checkpoints_hold_what_the_epoch_was_and_no_frozen_kernel(sharpen_first, tmp_path):
    network, path = small_models.model(), tmp_path / "best.keras"
    kept = keras.callbacks.ModelCheckpoint(path, monitor="score", mode="max", save_best_only=True)
    score = Score(0, 1, 2, 3)
    fit(network, Sharpen(lambda progress: math.inf, freeze_at=0.5), kept, sharpen_first, score)
    loaded = keras.models.load_model(path)
    assert sharpness_of(loaded) == {math.inf}
    assert not loaded.get_layer("first").kernel_is_frozen
    before = latent(loaded).copy()
    np.testing.assert_array_equal(before, kernel_of(score.weights[3]))
    fit(loaded, keras.callbacks.Callback(), keras.callbacks.Callback(), True, epochs=1)
    assert np.any(latent(loaded) != before)
    if keras.backend.backend() != "torch":  # No sign changes in one epoch of its random numbers.
        assert np.any(np.sign(latent(loaded)) != np.sign(before))


@ORDERS
def test_the_best_epoch_of_a_checkpoint_is_soft_where_it_was(sharpen_first, tmp_path):
    network, path = small_models.model(), tmp_path / "best.keras"
    kept = keras.callbacks.ModelCheckpoint(path, monitor="score", mode="max", save_best_only=True)
    with pytest.warns(UserWarning, match=r"that of epoch 1 \(sharpness 0\.7\)\. Made hard"):
        fit(network, Sharpen(Piecewise([0.5], [0.7, 1e9])), kept, sharpen_first, Score(3, 2, 1, 0))
    report = keras_sbn.binarize(keras.models.load_model(path))
    assert not report.already_binary
    assert report.layers[0].sharpness == pytest.approx(0.7)


@ORDERS
@pytest.mark.parametrize("monitor", ["val_accuracy", "val_hard_accuracy", None])
def test_a_soft_best_epoch_is_kept_with_a_warning(sharpen_first, monitor, tmp_path):
    """As measured once: 87.9 % were saved, which was 69.3 % when it was made hard."""

    class Measured(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["val_accuracy"] = (0.5, 0.879, 0.8, 0.81)[epoch]
            logs["val_hard_accuracy"] = (0.3, 0.693, 0.8, 0.81)[epoch]

    options = {"save_best_only": True, "mode": "max", "monitor": monitor} if monitor else {}
    kept = keras.callbacks.ModelCheckpoint(tmp_path / "kept.keras", **options)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        sharpen = Sharpen(lambda progress: 0.7 if progress < 0.5 else math.inf)
        fit(small_models.model(), sharpen, kept, sharpen_first, Measured())
    # Keras and JAX have warnings of their own.
    said = [str(one.message) for one in found if "that of epoch" in str(one.message)]
    expected = (
        "that of epoch 2 (sharpness 0.7, val_accuracy 0.879 and val_hard_accuracy 0.693). Made hard, it "
        "predicts otherwise. Choose by the hard network: HardValidation before Sharpen, and "
        "ModelCheckpoint(monitor='val_hard_accuracy', save_best_only=True)."
    )
    assert [expected in text for text in said] == [True] * (monitor == "val_accuracy")


@ORDERS
def test_backup_and_restore_goes_on_as_if_never_interrupted(sharpen_first, tmp_path):
    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 3:
                raise KeyboardInterrupt

    def run(*more):
        network = small_models.model()
        sharpen = Sharpen(lambda progress: math.inf, freeze_at=0.5)
        backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
        fit(network, sharpen, backup, sharpen_first, *more)
        return network, sharpen

    with pytest.raises(KeyboardInterrupt):
        run(Stop())
    network, sharpen = run()
    assert sharpen.report.already_binary
    unbroken = small_models.model()
    fit(unbroken, Sharpen(lambda progress: math.inf, freeze_at=0.5), keras.callbacks.Callback(), True)
    # Dropout draws anew after a restart; the state of the training agrees exactly.
    assert sharpness_of(network) == sharpness_of(unbroken) == {math.inf}
    normalizations = [n.get_layer("normalize_first") for n in (network, unbroken)]
    assert [float(numpy_of(n.accumulated_batches)) for n in normalizations] == [0, 0]


@ORDERS
def test_a_lower_learning_rate_changes_no_sharpness(sharpen_first):
    record = small_models.RecordSharpness()
    network = small_models.model()
    other = keras.callbacks.ReduceLROnPlateau(monitor="score", mode="max", factor=0.5, patience=1)
    sharpen = Sharpen(Exponential(1, 50, hard=False), binarize=False)
    fit(network, sharpen, other, sharpen_first, Score(3, 2, 1, 0), record)
    assert float(numpy_of(network.optimizer.learning_rate)) < 1e-2
    plain = small_models.RecordSharpness()
    sharpen = Sharpen(Exponential(1, 50, hard=False), binarize=False)
    fit(small_models.model(), sharpen, keras.callbacks.Callback(), True, plain)
    assert record.values == plain.values


@ORDERS
def test_a_training_that_turned_nan_is_not_called_binary(sharpen_first):
    x, y = small_models.data()
    network = small_models.model()
    x[20:] = np.nan
    sharpen = Sharpen(lambda progress: math.inf, freeze_at=None)
    pair = [sharpen, keras.callbacks.TerminateOnNaN()]
    callbacks = pair if sharpen_first else pair[::-1]
    with pytest.warns(UserWarning, match="the training diverged, and the model is left as it is"):
        network.fit(x, y, batch_size=16, epochs=2, callbacks=callbacks, verbose=0, shuffle=False)
    assert sharpen.report is None
    with pytest.raises(ValueError, match="Expected the kernel of layer 'first' to be finite"):
        keras_sbn.binarize(network)


@ORDERS
@pytest.mark.parametrize("swap_on_epoch", [False, True])
def test_averages_of_the_optimizer(sharpen_first, swap_on_epoch):
    """Kernels are frozen at their own mean, whatever the model holds between two epochs."""
    x, y = small_models.data()
    network = small_models.model()
    network.compile(
        keras.optimizers.SGD(0.5, use_ema=True, ema_momentum=0.5), "sparse_categorical_crossentropy"
    )
    kernels = []

    class Record(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            kernels.append(latent(self.model).copy())

    swap = keras.callbacks.SwapEMAWeights(swap_on_epoch=swap_on_epoch)
    sharpen = Sharpen(lambda progress: math.inf, freeze_at=0.75)
    pair = [sharpen, swap] if sharpen_first else [swap, sharpen]
    options = {"batch_size": 8, "epochs": 8, "shuffle": False, "verbose": 0}
    with pytest.warns(UserWarning, match=r"moving averages .* signs are not those .*Give Sharpen `data`"):
        network.fit(x, y, callbacks=[*pair, Record()], validation_data=(x, y), **options)
    # 48 batches: the mean over batches 24 to 35, which are frozen from 36 on.
    np.testing.assert_allclose(kernels[36], np.mean(kernels[24:36], axis=0), rtol=1e-4, atol=1e-5)
    for later in kernels[37:]:
        # TensorFlow swaps two variables by additions, which round.
        np.testing.assert_allclose(later, kernels[36], atol=1e-6)
    assert sharpen.report.already_binary
    assert sharpness_of(network) == {math.inf}


def test_averages_of_the_optimizer_get_statistics_of_their_own_with_data():
    x, y = small_models.data()
    network = small_models.model()
    network.compile(keras.optimizers.SGD(0.5, use_ema=True), "sparse_categorical_crossentropy")
    sharpen = Sharpen(lambda progress: math.inf, data=x)
    network.fit(x, y, batch_size=8, epochs=2, callbacks=[sharpen], verbose=0)
    sums = numpy_of(network.get_layer("first")(x))
    moving = numpy_of(network.get_layer("normalize_first").moving_mean)
    np.testing.assert_allclose(moving, sums.mean((0, 1, 2)), rtol=1e-4, atol=1e-5)


def test_the_hard_validation_chooses_the_hard_network():
    """The order that the documentation gives."""
    x, y = small_models.data()
    network, sharpen = small_models.model(), Sharpen()
    stop = keras.callbacks.EarlyStopping(
        monitor="val_hard_loss", mode="min", patience=2, restore_best_weights=True, start_from_epoch=6
    )
    callbacks = [HardValidation((x, y)), sharpen, stop]
    network.fit(x, y, batch_size=16, epochs=8, validation_data=(x, y), callbacks=callbacks, verbose=0)
    assert sharpness_of(network) == {math.inf}
    assert sharpen.report.already_binary
