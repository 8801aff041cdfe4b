"""A training that is interrupted and resumed has the sharpness of one that was not."""

import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import small_models
from small_models import RecordSharpness

from keras_sbn.callbacks import Sharpen
from keras_sbn.schedules import Adaptive, Cosine, Exponential, Piecewise

EPOCHS = 4


def train(network, *callbacks, epochs=EPOCHS, **options):
    x, y = small_models.data()
    return network.fit(
        x, y, batch_size=8, epochs=epochs, callbacks=list(callbacks), verbose=0, shuffle=False, **options
    )


class Interrupt(keras.callbacks.Callback):
    """Fails at a batch, as a machine would."""

    def __init__(self, epoch, batch):
        super().__init__()
        self.at = epoch, batch

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_begin(self, batch, logs=None):
        if (self.epoch, batch) == self.at:
            raise KeyboardInterrupt


def unbroken(**arguments):
    record = RecordSharpness()
    train(small_models.model(), Sharpen(**arguments), record)
    return record.values


@pytest.mark.parametrize("update_freq", ["batch", "epoch", 4])
def test_initial_epoch(update_freq):
    expected = unbroken(schedule=Cosine(), update_freq=update_freq)
    network = small_models.model()
    record = RecordSharpness()
    # A schedule of another training has left its sharpness in the weights.
    train(network, Sharpen(Piecewise([], [77.0]), binarize=False), epochs=1)
    train(network, Sharpen(Cosine(), update_freq=update_freq), record, initial_epoch=2)
    assert record.values == expected[12:]


def test_restored_checkpoint(tmp_path):
    expected = unbroken()
    path = tmp_path / "after_epoch.keras"
    saved = keras.callbacks.ModelCheckpoint(path)
    with pytest.raises(KeyboardInterrupt):
        train(small_models.model(), Sharpen(), saved, Interrupt(2, 3))
    record = RecordSharpness()
    train(keras.models.load_model(path), Sharpen(), record, initial_epoch=2)
    assert record.values == expected[12:]


def test_one_callback_resumes_an_adaptive_schedule_in_its_process():
    expected = unbroken(schedule=Adaptive(loss_tolerance=0.0))
    sharpen = Sharpen(Adaptive(loss_tolerance=0.0))
    network, record = small_models.model(), RecordSharpness()
    with pytest.raises(KeyboardInterrupt):
        train(network, sharpen, Interrupt(2, 0), record)
    train(network, sharpen, record, initial_epoch=2)
    assert record.values == pytest.approx(expected)


def test_an_adaptive_schedule_starts_anew_in_a_new_training():
    sharpen = Sharpen(Adaptive(loss_tolerance=0.0))
    first, second = RecordSharpness(), RecordSharpness()
    train(small_models.model(), sharpen, first)
    train(small_models.model(), sharpen, second)
    assert first.values[:6] == second.values[:6]


def test_warns_where_an_adaptive_schedule_has_no_state_to_resume_from():
    with pytest.warns(UserWarning, match=r"Expected the state .* start of epoch 2.*`state_path`"):
        train(small_models.model(), Sharpen(Adaptive()), initial_epoch=2)


CHILD = """
import json, os, signal, sys
import keras, small_models, test_resume
from keras_sbn.callbacks import Sharpen

folder, kill = sys.argv[1], sys.argv[2] == "kill"

class Kill(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch
    def on_train_batch_begin(self, batch, logs=None):
        if kill and (self.epoch, batch) == (2, 3):
            os.kill(os.getpid(), signal.SIGKILL)

weights, activations = test_resume.recorders()
history = test_resume.train(
    small_models.model(),
    test_resume.sharpen_with_both_kinds(state_path=os.path.join(folder, "sharpen.json")),
    keras.callbacks.BackupAndRestore(os.path.join(folder, "backup")),
    Kill(),
    weights,
    activations,
)
print(json.dumps([weights.values, activations.values, history.epoch]))
"""


def recorders():
    return RecordSharpness(), RecordSharpness("sign_first", "activation_sharpness")


def sharpen_with_both_kinds(**arguments):
    """Adaptive, which has something to remember, for the weights; a plain one for the activations."""
    return Sharpen(Adaptive(loss_tolerance=0.0), activation_schedule=Exponential(), **arguments)


@pytest.mark.once
def test_backup_and_restore_after_a_killed_process(tmp_path):
    environment = {
        **os.environ,
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "PYTHONPATH": os.pathsep.join([str(small_models.ROOT), str(small_models.ROOT / "tests")]),
    }

    def run(mode):
        command = [sys.executable, "-c", CHILD, str(tmp_path), mode]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)

    assert run("kill").returncode == -9
    assert (tmp_path / "backup" / "latest.weights.h5").exists()
    resumed = run("resume")
    assert resumed.returncode == 0, resumed.stderr[-3000:]
    weights, activations, epochs = json.loads(resumed.stdout.strip().splitlines()[-1])
    assert epochs == [2, 3]

    expected = recorders()
    train(small_models.model(), sharpen_with_both_kinds(), *expected)
    assert activations == expected[1].values[12:]
    # The losses that the adaptive schedule observed are those of another process.
    np.testing.assert_allclose(weights, expected[0].values[12:], rtol=1e-6)
