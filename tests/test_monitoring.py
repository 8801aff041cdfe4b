"""What is measured and recorded during training: HardValidation, Monitor, RecordWeights, FlipRatio."""

import keras
import numpy as np
import pytest
import small_models

import keras_sbn
from keras_sbn.callbacks import HardValidation, Monitor, RecordWeights, Sharpen
from keras_sbn.callbacks.monitor import saturated_activations
from keras_sbn.callbacks.record_weights import BIN_EDGES, take_snapshot
from keras_sbn.metrics import FlipRatio
from keras_sbn.schedules import Adaptive, Piecewise


def fit(network, *callbacks, epochs=2, **options):
    x, y = small_models.data()
    return network.fit(x, y, batch_size=8, epochs=epochs, callbacks=list(callbacks), verbose=0, **options)


def numbers(weight):
    return keras.ops.convert_to_numpy(weight)


def test_hard_validation_is_the_evaluation_of_the_binarized_network():
    data = small_models.data(40, seed=1)
    network = small_models.model()
    history = fit(
        network,
        HardValidation(data),
        Sharpen(Piecewise([], [0.5]), binarize=False),
        validation_data=data,
    ).history
    assert float(numbers(network.get_layer("first").kernel_sharpness)) == 0.5
    soft = network.evaluate(*data, verbose=0, return_dict=True)
    assert history["val_loss"][-1] == pytest.approx(soft["loss"], rel=1e-5)
    keras_sbn.binarize(network)
    hard = network.evaluate(*data, verbose=0, return_dict=True)
    assert history["val_hard_loss"][-1] == pytest.approx(hard["loss"], rel=1e-5)
    assert history["val_hard_accuracy"][-1] == pytest.approx(hard["accuracy"])
    assert hard["loss"] != pytest.approx(soft["loss"], rel=1e-3)


@pytest.mark.skipif(
    keras.backend.backend() == "torch",
    reason="PyTorch draws a number for every evaluation from the generator that dropout draws from",
)
def test_hard_validation_does_not_disturb_the_training():
    data = small_models.data(40, seed=1)
    plain = fit(small_models.model(), Sharpen(), epochs=3, shuffle=False)
    watched = fit(
        small_models.model(),
        HardValidation(data),
        Monitor(data[0]),
        RecordWeights(),
        Sharpen(),
        epochs=3,
        shuffle=False,
    )
    np.testing.assert_allclose(watched.history["loss"], plain.history["loss"], rtol=1e-5)


def test_hard_validation_takes_datasets_and_weights():
    tf = pytest.importorskip("tensorflow")
    x, y = small_models.data(40, seed=1)
    dataset = tf.data.Dataset.from_tensor_slices((x, y)).batch(10)
    for data in (dataset, (x, y, np.ones(40))):
        history = fit(small_models.model(), HardValidation(data), epochs=1).history
        assert 0 <= history["val_hard_accuracy"][0] <= 1
    with pytest.raises(ValueError, match=r"Expected `validation_data` .*Received"):
        HardValidation(None)


def test_adaptive_schedule_sees_the_gap():
    data = small_models.data(40, seed=1)
    schedule = Adaptive()
    fit(small_models.model(), HardValidation(data), Sharpen(schedule), validation_data=data, epochs=3)
    assert schedule.get_state()["gap"] is not None


def test_monitor_measures_shares_of_weights_and_activations():
    x, _ = small_models.data()
    network = small_models.model()
    monitor = Monitor(x)
    history = fit(network, Sharpen(Piecewise([0.5], [1.0, 1e9]), binarize=False), monitor).history
    assert len(monitor.layers) == 2
    soft, hard = monitor.layers
    assert set(soft["dense"]) == {"saturated_weights", "saturated_activations", "flip_ratio"}
    assert set(soft["first"]) == {"saturated_weights", "flip_ratio"}
    assert set(soft["sign_first"]) == {"saturated_activations"}
    assert soft["first"]["saturated_weights"] < 0.2
    assert hard["first"]["saturated_weights"] == 1
    assert soft["sign_first"]["saturated_activations"] < 0.5
    assert hard["sign_first"]["saturated_activations"] > 0.99

    sizes = {name: network.get_layer(name).kernel.shape for name in ("first", "second", "dense")}
    sizes = {name: np.prod(shape) for name, shape in sizes.items()}
    expected = sum(size * soft[name]["saturated_weights"] for name, size in sizes.items())
    assert history["saturated_weights"][0] == pytest.approx(expected / sum(sizes.values()))
    assert history["saturated_activations"][1] > 0.99


def test_saturated_activations_are_those_of_the_layer():
    x, _ = small_models.data()
    network = small_models.model()
    layer = network.get_layer("sign_first")
    layer.activation_sharpness.assign(4.0)
    outputs = keras.Model(network.inputs, layer.output).predict(x, verbose=0)
    share, size = saturated_activations(network, x)[layer]
    assert size == outputs.size
    assert share == pytest.approx(np.mean(np.abs(outputs) >= 0.999), abs=1e-4)
    assert "binarize_activation" not in vars(layer)


def test_monitor_counts_flips_since_the_last_epoch():
    network = small_models.model(learning_rate=0.0)
    monitor = Monitor()

    class Flip(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:
                kernel = self.model.get_layer("dense").kernel
                values = numbers(kernel).copy()
                values[:, 0] *= -1
                kernel.assign(values)

    history = fit(network, Flip(), monitor, epochs=3).history
    assert [rows["dense"]["flip_ratio"] for rows in monitor.layers] == [0, 0.25, 0]
    assert history["flip_ratio"][0] == 0 < history["flip_ratio"][1]


def test_monitor_writes_tensorboard(tmp_path):
    pytest.importorskip("tensorflow")
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    x, _ = small_models.data()
    monitor = Monitor(x, log_dir=tmp_path)
    board = keras.callbacks.TensorBoard(tmp_path, write_graph=False)
    fit(small_models.model(), Sharpen(), monitor, board)

    def tags(run):
        events = EventAccumulator(str(tmp_path / run), size_guidance={"tensors": 0})
        events.Reload()
        return events

    own = tags("binarization")
    assert {
        "saturated_weights/dense",
        "saturated_activations/sign_first",
        "flip_ratio/first",
        "kernel_sharpness/dense",
        "activation_sharpness/dense",
        "kernel/second",
    } <= set(own.Tags()["tensors"])
    written = [
        float(make_ndarray(event.tensor_proto)) for event in own.Tensors("saturated_weights/dense")
    ]
    assert written == pytest.approx([rows["dense"]["saturated_weights"] for rows in monitor.layers])
    histogram = make_ndarray(own.Tensors("kernel/second")[0].tensor_proto)
    assert histogram[:, 2].sum() == 3 * 3 * 4 * 4
    assert {"epoch_sharpness", "epoch_flip_ratio"} <= set(tags("train").Tags()["tensors"])


def test_record_weights_keeps_histograms():
    network = small_models.model()
    record = RecordWeights(every=2)
    fit(network, Sharpen(Piecewise([0.5], [1.0, 1e9])), record, epochs=4)
    assert [snapshot.epoch for snapshot in record.snapshots] == [0, 2, 4]
    assert [snapshot.sharpness for snapshot in record.snapshots] == [1.0, 1.0, 1e9]
    for snapshot in record.snapshots:
        assert set(snapshot.counts) == {"first", "second", "dense"}
        assert snapshot.counts["second"].sum() == 3 * 3 * 4 * 4
        assert len(snapshot.counts["second"]) == len(BIN_EDGES) - 1
    last = record.snapshots[-1].counts["second"]
    assert last[0] + last[-1] == last.sum()
    first = record.snapshots[0].counts["second"]
    assert first[0] + first[-1] < first.sum() / 2
    assert take_snapshot(network).sharpness == np.inf
    with pytest.raises(ValueError, match=r"Expected `every` .*Received"):
        RecordWeights(every=0)


def test_flip_ratio_is_that_of_larq():
    metric = FlipRatio()
    for values in ([1, 1], [2, 2], [1, 2]):
        metric.update_state(values)
    assert float(numbers(metric.result())) == 0.75
    metric.reset_state()
    assert float(numbers(metric.result())) == 0
    metric.update_state([1, 3])  # compared with the last update before the reset
    assert float(numbers(metric.result())) == 0.5
    with pytest.raises(ValueError, match=r"Expected values of one shape .*Received: \(3,\) after \(2,\)"):
        metric.update_state([1, 2, 3])
    assert FlipRatio.from_config(metric.get_config()).name == "flip_ratio"
