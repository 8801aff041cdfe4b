"""Sharpen: when the sharpness changes, in which weights, and what happens at the end."""

import inspect
import math
import re

import keras
import numpy as np
import pytest
import small_models
from small_models import RecordSharpness

import keras_sbn
from keras_sbn.callbacks import Sharpen
from keras_sbn.schedules import Exponential, Linear, Piecewise

STEPS = 6  # 48 samples in batches of 8


def fit(network, *callbacks, epochs=2, **options):
    x, y = small_models.data()
    options = {"batch_size": 8, "verbose": 0, **options}
    return network.fit(x, y, epochs=epochs, callbacks=list(callbacks), **options)


def sharpness_of(network, layer, weight="kernel_sharpness"):
    return float(keras.ops.convert_to_numpy(getattr(network.get_layer(layer), weight)))


def test_needs_no_arguments_and_leaves_a_binary_network():
    network = small_models.model()
    sharpen, record = Sharpen(), RecordSharpness()
    history = fit(network, sharpen, record, epochs=4)
    assert record.values[0] == 1.0
    assert record.values[:23] == sorted(record.values[:23])
    assert record.values[18:] == [math.inf] * 6
    assert history.history["sharpness"][-1] == math.inf
    assert "activation_sharpness" not in history.history
    assert keras_sbn.binarize(network).already_binary
    assert sharpen.report.changed_predictions is None


def test_arguments_after_the_schedule_are_keywords_and_documented_in_their_order():
    found = inspect.signature(Sharpen).parameters
    kinds = [parameter.kind for parameter in found.values()]
    assert kinds[0] is inspect.Parameter.POSITIONAL_OR_KEYWORD
    assert set(kinds[1:]) == {inspect.Parameter.KEYWORD_ONLY}
    arguments = inspect.getdoc(Sharpen).split("Args:\n")[1].split("Attributes:")[0]
    assert re.findall(r"^    (\w+): ", arguments, re.MULTILINE) == list(found)


def test_every_batch_of_training_has_the_sharpness_of_its_progress():
    schedule = Linear(1.0, 12.0, end_at=1.0)
    record = RecordSharpness()
    fit(small_models.model(), Sharpen(schedule), record)
    expected = [schedule(batch / 12) for batch in range(12)]
    np.testing.assert_allclose(record.values, expected, rtol=1e-6)


def test_batch_updates_take_at_most_250_stairs():
    sharpen = Sharpen()
    sharpen.set_params({"epochs": 10, "steps": 10_000})
    sharpen._steps = 10_000
    seen = set()
    for sharpen._epoch in range(10):
        seen.update(sharpen._progress(batch) for batch in range(10_000))
    assert seen == {stair / 250 for stair in range(250)}


@pytest.mark.parametrize(
    ("update_freq", "expected"),
    [
        ("epoch", [0] * 6 + [6] * 6),
        (4, [0, 0, 0, 0, 4, 4, 6, 6, 6, 6, 10, 10]),
        (1, list(range(12))),
    ],
)
def test_update_freq(update_freq, expected):
    schedule = Linear(1.0, 13.0, end_at=1.0)
    record = RecordSharpness()
    fit(small_models.model(), Sharpen(schedule, update_freq=update_freq), record)
    np.testing.assert_allclose(record.values, [1 + batch for batch in expected], rtol=1e-6)


@pytest.mark.skipif(keras.backend.backend() == "torch", reason="Keras has it not with PyTorch")
def test_steps_per_execution():
    schedule = Linear(1.0, 13.0, end_at=1.0)
    record = RecordSharpness()
    fit(small_models.model(steps_per_execution=3), Sharpen(schedule, update_freq=1), record)
    np.testing.assert_allclose(record.values, [1, 4, 7, 10], rtol=1e-6)


def test_unknown_steps_change_once_an_epoch():
    tf = pytest.importorskip("tensorflow")
    dataset = tf.data.Dataset.from_tensor_slices(small_models.data()).filter(lambda x, y: True)
    record = RecordSharpness()
    schedule = Linear(1.0, 19.0, end_at=1.0)
    sharpen = Sharpen(schedule)
    options = {"epochs": 3, "shuffle": False, "verbose": 0}
    with pytest.warns(UserWarning, match="ran out of data"):  # how Keras finds out the length
        small_models.model().fit(dataset.batch(8), callbacks=[sharpen, record], **options)
    assert sharpen.params["steps"] is None
    # Keras may begin a batch before it finds that there is none.
    assert len(record.values) in (18, 21)
    expected = np.repeat([1, 7, 13], len(record.values) // 3)
    np.testing.assert_allclose(record.values, expected, rtol=1e-6)


def test_steps_per_epoch_of_sharpen_makes_a_generator_smooth():
    record = RecordSharpness()
    sharpen = Sharpen(Linear(1.0, 7.0, end_at=1.0), update_freq=1, steps_per_epoch=STEPS)
    sharpen.set_model(small_models.model())
    sharpen.set_params({"epochs": 1, "steps": None})
    record.set_model(sharpen.model)
    sharpen.on_train_begin()
    sharpen.on_epoch_begin(0)
    for batch in range(STEPS):
        sharpen.on_train_batch_begin(batch)
        record.on_train_batch_begin(batch)
    np.testing.assert_allclose(record.values, [1, 2, 3, 4, 5, 6])


def test_steps_that_fit_knows_win():
    record = RecordSharpness()
    sharpen = Sharpen(Linear(1.0, 7.0, end_at=1.0), update_freq=1, steps_per_epoch=2)
    fit(small_models.model(), sharpen, record, epochs=1)
    np.testing.assert_allclose(record.values, [1, 2, 3, 4, 5, 6], rtol=1e-6)


def test_weights_activations_and_single_layers_have_their_own_schedules():
    network = small_models.model()
    sharpen = Sharpen(
        Piecewise([], [2.0]),
        binarize=False,
        activation_schedule=Piecewise([], [3.0]),
        layer_schedules={
            "second": Piecewise([], [5.0]),
            "dense": (Piecewise([], [7.0]), Piecewise([], [11.0])),
        },
    )
    history = fit(network, sharpen, epochs=1)
    assert sharpness_of(network, "first") == 2
    assert sharpness_of(network, "sign_first", "activation_sharpness") == 3
    assert sharpness_of(network, "second") == 5
    assert sharpness_of(network, "dense") == 7
    assert sharpness_of(network, "dense", "activation_sharpness") == 11
    assert history.history["sharpness"] == [2.0]
    assert history.history["activation_sharpness"] == [3.0]


def test_layers_of_nested_models_are_sharpened():
    inner = keras.Sequential([keras_sbn.layers.SelfBinarizingDense(4, name="inside")])
    network = keras.Sequential([keras.Input((4,)), inner, keras_sbn.layers.SelfBinarizingDense(2)])
    network.compile("sgd", "mse")
    callback = Sharpen(
        Piecewise([], [2.0]), layer_schedules={"inside": Piecewise([], [5.0])}, binarize=False
    )
    network.fit(np.ones((4, 4)), np.ones((4, 2)), callbacks=[callback], verbose=0)
    assert float(keras.ops.convert_to_numpy(inner.layers[0].kernel_sharpness)) == 5
    assert float(keras.ops.convert_to_numpy(network.layers[1].kernel_sharpness)) == 2


def test_models_that_fit_builds_are_sharpened():
    class Subclassed(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras_sbn.layers.SelfBinarizingDense(2)

        def call(self, inputs):
            return self.dense(inputs)

    network = Subclassed()
    with pytest.raises(ValueError, match="Expected a built model"):
        keras_sbn.sharpen(network, 0.5)
    network.compile("sgd", "mse")
    callback = Sharpen(Piecewise([], [3.0]), update_freq="epoch", binarize=False)
    network.fit(np.ones((4, 4)), np.ones((4, 2)), batch_size=2, callbacks=[callback], verbose=0)
    assert float(keras.ops.convert_to_numpy(network.dense.kernel_sharpness)) == 3


def test_any_function_of_progress_is_a_schedule():
    record = RecordSharpness()
    fit(small_models.model(), Sharpen(lambda progress: 1 + progress, update_freq=1), record, epochs=1)
    np.testing.assert_allclose(record.values, [1 + batch / 6 for batch in range(6)], rtol=1e-6)


def test_without_binarize_the_last_sharpness_stays():
    network = small_models.model()
    fit(network, Sharpen(Exponential(1, 50, hard=False), binarize=False), epochs=4)
    assert sharpness_of(network, "first") == pytest.approx(50)


def test_end_of_training_reestimates_and_says_nothing_where_soft_is_hard():
    x, _ = small_models.data()
    network = small_models.model()
    sharpen = Sharpen(data=x)
    fit(network, sharpen, epochs=8)
    assert sharpen.report.changed_predictions == 0
    outputs = keras.Model(network.inputs, network.get_layer("second").output)
    pooled = network.get_layer("pool")(outputs.predict(x, verbose=0))
    expected = np.mean(keras.ops.convert_to_numpy(pooled), axis=(0, 1, 2))
    moving = keras.ops.convert_to_numpy(network.get_layer("normalize_second").moving_mean)
    # The layer before it normalizes with the one batch's statistics and then with the moving ones,
    # which are equal but for rounding.
    np.testing.assert_allclose(moving, expected, atol=1e-4)


def test_end_of_training_warns_with_numbers_where_soft_is_not_hard():
    x, y = small_models.data(200)
    network = small_models.model(learning_rate=0.0)
    sharpen = Sharpen(Piecewise([], [0.5]), data=(x, y))
    with pytest.warns(UserWarning, match=r"changed \d+\.\d+ % of the predictions") as caught:
        fit(network, sharpen, epochs=1)
    expected = f"{100 * sharpen.report.changed_predictions:.2f} %"
    assert [expected in str(one.message) for one in caught if "changed" in str(one.message)] == [True]
    assert sharpen.report.changed_predictions > 0


def test_warns_when_training_stopped_before_the_schedule_ended():
    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = epoch == 1

    network = small_models.model()
    with pytest.warns(UserWarning, match="stopped in epoch 2 of 10 at sharpness"):
        fit(network, Sharpen(), Stop(), epochs=10)
    assert keras_sbn.binarize(network).already_binary


@pytest.mark.parametrize(
    "arguments",
    [
        {"schedule": 3},
        {"activation_schedule": "cosine"},
        {"layer_schedules": {"dense": 3}},
        {"layer_schedules": {"dense": (Exponential(),)}},
        {"update_freq": 0},
        {"update_freq": "step"},
        {"update_freq": True},
        {"steps_per_epoch": 0},
        {"freeze_at": 1.0},
        {"data": np.ones((2, 6, 6, 1)), "binarize": False},
        {"data": iter([np.ones((2, 6, 6, 1))])},
    ],
)
def test_rejects_bad_arguments(arguments):
    with pytest.raises(ValueError, match=r"(?s)Expected .*Received"):
        Sharpen(**arguments)


def test_rejects_unknown_layers_and_models_without_binary_layers():
    with pytest.raises(ValueError, match=r"Expected `layer_schedules` .*Received: \['nowhere'\]"):
        fit(small_models.model(), Sharpen(layer_schedules={"nowhere": Exponential()}))
    plain = keras.Sequential([keras.Input((6, 6, 1)), keras.layers.Flatten(), keras.layers.Dense(4)])
    plain.compile("sgd", "mse")
    with pytest.raises(ValueError, match="Expected a model with self-binarizing layers"):
        plain.fit(np.ones((2, 6, 6, 1)), np.ones((2, 4)), callbacks=[Sharpen()], verbose=0)


def test_custom_training_loop():
    x, y = small_models.data()
    network = small_models.model()
    schedule = Linear(1.0, 13.0, end_at=1.0)
    for step in range(6):
        keras_sbn.sharpen(network, step / 6, schedule)
        network.train_on_batch(x[8 * step : 8 * step + 8], y[8 * step : 8 * step + 8])
        assert sharpness_of(network, "first") == pytest.approx(schedule(step / 6))
    keras_sbn.sharpen(
        network, 0.5, activation_schedule=Piecewise([], [3.0]), layer_schedules={"dense": schedule}
    )
    assert sharpness_of(network, "sign_first", "activation_sharpness") == 3
    assert sharpness_of(network, "dense") == schedule(0.5)
    with pytest.raises(ValueError, match=r"Expected `progress` .*Received: progress=1.5"):
        keras_sbn.sharpen(network, 1.5)
