"""Checkpoints: what was written is read, and what is damaged is named."""

import json
import math

import keras
import numpy as np
import pytest
from layer_cases import numpy_of

import keras_sbn
from keras_sbn.training.callbacks import KeepRun
from keras_sbn.training.checkpoints import Checkpoints, RunState, check_same_network


def network(units=3):
    model = keras.Sequential(
        [keras.Input((4,)), keras_sbn.layers.SelfBinarizingDense(units, name="dense")], name="tiny"
    )
    model.compile("sgd", "mse")
    return model


@pytest.fixture
def kept(tmp_path):
    """Three epochs; the kernel of each is its number, and the second is the best."""
    checkpoints, state, model = Checkpoints(tmp_path / "checkpoints"), RunState(), network()
    for epoch, accuracy in enumerate((0.5, 0.9, 0.7), 1):
        state.add({"loss": 1 / epoch, "val_hard_accuracy": accuracy, "sharpness": math.inf})
        model.get_layer("dense").kernel.assign(np.full((4, 3), float(epoch)))
        checkpoints.save(model, state)
    return checkpoints, state


def epoch_of(model):
    return float(numpy_of(model.get_layer("dense").kernel)[0, 0])


def test_the_last_two_and_the_best_are_kept(kept):
    checkpoints, state = kept
    names = sorted(path.name for path in checkpoints.folder.iterdir())
    both = [f"epoch-0000{epoch}.{kind}" for epoch in (2, 3) for kind in ("json", "keras")]
    assert names == ["best.keras", *both]
    model, found = checkpoints.load()
    assert found == state
    assert epoch_of(model) == 3
    assert checkpoints.last() == checkpoints.folder / "epoch-00003.keras"
    assert epoch_of(keras.models.load_model(checkpoints.best)) == 2
    assert state.best_epoch() == 2


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def change(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [cut, change, lambda path: path.write_bytes(b"")])
@pytest.mark.parametrize("suffix", ["json", "keras"])
def test_of_a_damaged_last_one_the_one_before_is_the_last_good_one(kept, damage, suffix):
    checkpoints, _ = kept
    damage(checkpoints.folder / f"epoch-00003.{suffix}")
    lines = []
    model, state = checkpoints.load(lines.append)
    assert (epoch_of(model), state.epoch) == (2, 2)
    assert len(lines) == 1
    assert f"epoch-00003.{suffix}" in lines[0]
    assert lines[0].endswith("going on after epoch 2")


def test_where_all_are_damaged_every_file_is_named(kept):
    checkpoints, _ = kept
    cut(checkpoints.folder / "epoch-00003.keras")
    (checkpoints.folder / "epoch-00002.json").write_text("{}")
    with pytest.raises(ValueError, match=r"epoch-00003\.keras.*epoch-00002\..*No checkpoint is whole"):
        checkpoints.load()
    (checkpoints.folder / "epoch-00003.keras").unlink()
    with pytest.raises(ValueError, match=r"Received no .*epoch-00003\.keras"):
        checkpoints.load()


def test_a_checkpoint_of_version_0_1_has_no_checksums(kept):
    checkpoints, state = kept
    path = checkpoints.folder / "epoch-00003.json"
    path.write_text(json.dumps(json.loads(path.read_text())["state"]))
    assert checkpoints.load()[1] == state


def test_no_checkpoint(tmp_path):
    checkpoints = Checkpoints(tmp_path / "none")
    assert checkpoints.load() is None
    assert checkpoints.last() is None
    assert not checkpoints.folder.exists()


def test_a_network_of_another_width_is_refused(tmp_path):
    check_same_network(network(), network(), tmp_path / "epoch-00001.keras")
    with pytest.raises(
        ValueError, match=r"epoch-00001\.keras, whose weight .* shape \(4, 5\) and not \(4, 3\)"
    ):
        check_same_network(network(5), network(), tmp_path / "epoch-00001.keras")
    longer = keras.Sequential([*network().layers, keras.layers.Dense(2, name="more")])
    longer.build((None, 4))
    with pytest.raises(ValueError, match=r"with 2 weights\. Received: .* with 4"):
        check_same_network(longer, network(), tmp_path / "epoch-00001.keras")


def test_every_name_of_the_history_has_a_value_for_every_epoch():
    """As where tensorboard is installed between two parts of a run of version 0.1."""
    state = RunState()
    state.add({"loss": 1.0})
    state.add({"loss": 2.0, "flip_ratio": 0.5})
    state.add({"loss": 3.0})
    np.testing.assert_array_equal(state.history["loss"], [1, 2, 3])
    np.testing.assert_array_equal(state.history["flip_ratio"], [math.nan, 0.5, math.nan])
    assert RunState.from_dict(json.loads(json.dumps(state.to_dict()))).epoch == 3


class Diverge(keras.callbacks.Callback):
    """Puts NaN into a kernel at the end of an epoch."""

    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def on_epoch_end(self, epoch, logs=None):
        if epoch == self.epoch:
            kernel = self.model.get_layer("dense").kernel
            kernel.assign(np.full(kernel.shape, np.nan))


@pytest.mark.parametrize(
    ("epoch", "message"),
    [
        (
            1,
            r"in '.*kernel' in epoch 2 of 4: .*The last good epoch is .*epoch-00001\.keras, the best one",
        ),
        (0, r"in epoch 1 of 4: the training diverged\. No epoch was finished before\. Start a new run"),
    ],
)
def test_a_training_that_turns_nan_stops_and_keeps_the_last_good_epoch(tmp_path, epoch, message):
    model, state, checkpoints = network(), RunState(), Checkpoints(tmp_path / "checkpoints")
    keep = KeepRun(state, checkpoints, tmp_path, 4, lambda line: None)

    class Logs(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs.update(
                dict.fromkeys(("accuracy", "val_accuracy", "val_hard_accuracy", "sharpness"), 1.0)
            )

    data = np.ones((8, 4)), np.ones((8, 3))
    with pytest.raises(ValueError, match=message):
        model.fit(*data, epochs=4, callbacks=[Logs(), Diverge(epoch), keep], verbose=0)
    assert state.epoch == epoch
    assert (checkpoints.last() is not None) == (epoch > 0)
    if epoch:
        assert checkpoints.last().exists()
        assert np.isfinite(numpy_of(checkpoints.load()[0].get_layer("dense").kernel)).all()


def test_a_loss_that_is_nan_stops_it_as_well(tmp_path):
    keep = KeepRun(RunState(), Checkpoints(tmp_path), tmp_path, 4, lambda line: None)
    keep.set_model(network())
    with pytest.raises(ValueError, match="NaN or infinity in 'loss' in epoch 1"):
        keep.on_epoch_end(0, {"loss": math.nan})


def test_the_mean_of_the_kernels_of_the_epoch_before_is_kept(tmp_path):
    """A process may be killed after it is written, and before the checkpoint of the same epoch."""
    from keras_sbn.averaging import KernelMean

    path = tmp_path / "sharpness.npz"
    mean, weight = KernelMean(), keras.Variable(np.zeros(3))
    for epoch in (1, 2, 3):
        weight.assign(np.full(3, float(epoch)))
        mean.add([weight])
        mean.save(path, epoch)
    for epoch, count in ((3, 3), (2, 2), (1, 0)):
        found = KernelMean()
        found.load(path, epoch)
        assert found.count == count
    # Assigned in epoch 4: the mean of epoch 3 stays for the checkpoint of epoch 3, and goes after it.
    mean.assign([weight])
    mean.save(path, 4)
    found = KernelMean()
    found.load(path, 3)
    assert found.count == 3
    mean.save(path, 5)
    assert list(tmp_path.iterdir()) == []
