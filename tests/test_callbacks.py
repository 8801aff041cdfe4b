import keras
import numpy as np
import pytest

import keras_sbn
from keras_sbn import layers, schedules
from keras_sbn.binarize import self_binarizing_layers
from keras_sbn.callbacks import Sharpen


class _Record(keras.callbacks.Callback):
    """Keeps the sharpness each batch was trained with."""

    def __init__(self):
        super().__init__()
        self.values = []

    def on_train_batch_begin(self, batch, logs=None):
        (layer,) = self_binarizing_layers(self.model)
        self.values.append(float(keras.ops.convert_to_numpy(layer.kernel_sharpness)))


def _model():
    inner = keras.Sequential([keras.Input((4,)), layers.SelfBinarizingDense(3)])
    model = keras.Sequential([keras.Input((4,)), inner, layers.BinaryBatchNormalization()])
    model.compile("adam", "mse")
    return model


def _fit(model, sharpen, epochs=4, **options):
    record = _Record()
    x, y = np.ones((12, 4), "float32"), np.ones((12, 3), "float32")
    history = model.fit(
        x, y, batch_size=4, epochs=epochs, callbacks=[sharpen, record], verbose=0, **options
    )
    return record.values, history.history


def test_raises_the_sharpness_every_batch_and_ends_binary():
    model = _model()
    schedule = schedules.Exponential(1.0, 100.0, end_at=0.5)
    values, history = _fit(model, Sharpen(schedule))
    expected = [schedule(batch / 12) for batch in range(12)]
    np.testing.assert_allclose(values, expected, rtol=1e-6)
    np.testing.assert_allclose(history["sharpness"], np.array(expected)[[2, 5, 8, 11]], rtol=1e-6)
    assert keras_sbn.binarize(model).already_binary


def test_needs_no_arguments():
    model = _model()
    values, _ = _fit(model, Sharpen())
    assert values[0] == 1.0
    assert values[-1] == np.float32(1e7)
    assert values == sorted(values)


def test_every_epoch_and_every_few_batches():
    schedule = schedules.Exponential(1.0, 100.0, end_at=1.0)
    values, _ = _fit(_model(), Sharpen(schedule, update_freq="epoch"))
    np.testing.assert_allclose(values, np.repeat([schedule(e / 4) for e in range(4)], 3), rtol=1e-6)
    values, _ = _fit(_model(), Sharpen(schedule, update_freq=2))
    batches = [epoch * 3 + batch - batch % 2 for epoch in range(4) for batch in range(3)]
    np.testing.assert_allclose(values, [schedule(b / 12) for b in batches], rtol=1e-6)


def test_a_resumed_run_goes_on_where_it_stood():
    whole, _ = _fit(_model(), Sharpen())
    resumed, _ = _fit(_model(), Sharpen(), initial_epoch=2)
    assert resumed == whole[6:]


def test_an_epoch_of_unknown_length_keeps_its_first_value_and_the_next_ones_rise():
    model, record = _model(), _Record()
    schedule = schedules.Exponential(1.0, 100.0, end_at=1.0)

    sharpen = Sharpen(schedule)
    sharpen.set_params({"epochs": 3, "steps": None})
    sharpen.set_model(model)
    record.set_model(model)
    sharpen.on_train_begin()
    for epoch in range(3):
        sharpen.on_epoch_begin(epoch)
        for batch in range(4):
            sharpen.on_train_batch_begin(batch)
            record.on_train_batch_begin(batch)
            sharpen.on_train_batch_end(batch, {})
        sharpen.on_epoch_end(epoch, {})
    later = [schedule((4 * epoch + batch) / 12) for epoch in (1, 2) for batch in range(4)]
    np.testing.assert_allclose(record.values, [1.0] * 4 + later, rtol=1e-6)


def test_can_leave_the_network_soft():
    model = _model()
    _fit(model, Sharpen(binarize=False))
    report = keras_sbn.binarize(model)
    assert not report.already_binary
    assert report.layers[0].sharpness == np.float32(1e7)


@pytest.mark.parametrize("update_freq", ["step", 0, -1, None])
def test_refuses_a_wrong_update_freq(update_freq):
    with pytest.raises(ValueError, match="Expected `update_freq` to be 'batch', 'epoch'"):
        Sharpen(update_freq=update_freq)


def test_refuses_a_schedule_that_is_none():
    with pytest.raises(ValueError, match="Expected `schedule` to be a keras_sbn"):
        Sharpen(schedule=3.0)


def test_refuses_a_model_without_self_binarizing_layers():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="Expected a model with self-binarizing layers"):
        _fit(model, Sharpen())
