"""Runs of the accuracy benchmark in pieces: broken off and continued, they end as unbroken ones."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import accuracy
import accuracy_pieces
import keras
import numpy as np
import pytest
from accuracy_data import Data
from accuracy_methods import METHODS
from accuracy_networks import CHAINS, build
from accuracy_pieces import Deadline, OutOfTimeError, Pieces, State

# 20 epochs, because kernels are averaged, frozen and statistics accumulated in the last tenth.
SETTING = replace(
    accuracy.PRESETS["tiny"][0], network="test", epochs=20, batch_size=8, seeds=1, shift=1, flip=True
)


class StopAfter(Deadline):
    """A deadline that comes after so many epochs."""

    def __init__(self, epochs):
        super().__init__()
        self.epochs = epochs

    def check(self):
        self.epochs -= 1
        if self.epochs == 0:
            raise OutOfTimeError


@pytest.fixture(autouse=True)
def _network(monkeypatch):
    monkeypatch.setitem(CHAINS, "test", ((4, "M"), (6,)))


@pytest.fixture
def data(rng):
    x = rng.integers(-128, 128, (96, 6, 6, 1)).astype("float32") / 128
    y = rng.integers(0, 10, 96)
    return Data((x, y), (x[:10], y[:10]), (x[:20], y[:20]))


def trained(method, data, pieces, setting=SETTING):
    """The weights after a training, begun from the same seed."""
    keras.utils.set_random_seed(3)
    model = build("test", method.kit(), data.shape)
    state = accuracy.train(model, setting, method, 1e-2, 0, data, None, pieces)
    return accuracy.own_weights(model), state


@pytest.mark.parametrize("name", ["ours", "approx"])
def test_a_run_in_pieces_is_the_unbroken_run(name, data, tmp_path):
    whole, state = trained(METHODS[name], data, Pieces())
    with pytest.raises(OutOfTimeError):
        trained(METHODS[name], data, Pieces(tmp_path, StopAfter(7)))
    # Broken off a second time where the mean of the kernels is taken, one epoch before they are frozen.
    with pytest.raises(OutOfTimeError):
        trained(METHODS[name], data, Pieces(tmp_path, StopAfter(12)))
    assert Pieces(tmp_path).load().epoch == 19
    assert (tmp_path / "sharpening.npz").exists() == (name == "ours")
    pieces, again = trained(METHODS[name], data, Pieces(tmp_path))
    assert again.losses == state.losses
    for one, other in zip(whole, pieces, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_finished_training_is_not_begun_again(data, tmp_path):
    setting = replace(SETTING, epochs=1)
    whole, state = trained(METHODS["approx"], data, Pieces(tmp_path), setting)
    again, same = trained(METHODS["approx"], data, Pieces(tmp_path, StopAfter(1)), setting)
    assert (same.losses, same.cpu_seconds) == (state.losses, state.cpu_seconds)
    np.testing.assert_array_equal(whole[0], again[0])


def test_a_state_is_written_whole_and_read_back(tmp_path, monkeypatch):
    pieces = Pieces(tmp_path / "run")
    assert pieces.load() == State()
    state = State(2, [1.5, 0.5], 3.25, [np.arange(3.0), np.float32(1)])
    pieces.save(state)
    found = Pieces(tmp_path / "run").load()
    assert (found.epoch, found.losses, found.cpu_seconds) == (2, [1.5, 0.5], 3.25)
    np.testing.assert_array_equal(found.arrays[0], state.arrays[0])

    def fail(path, **arrays):
        Path(path).write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(accuracy_pieces.np, "savez", fail)
    with pytest.raises(OSError, match="disk full"):
        pieces.save(State(3))
    monkeypatch.undo()
    assert pieces.load().epoch == 2
    pieces.remove()
    assert not (tmp_path / "run").exists()


def test_a_deadline_passes(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(accuracy_pieces.time, "monotonic", lambda: now[0])
    deadline = Deadline(2)
    deadline.check()
    now[0] += 119
    deadline.check()
    now[0] += 1
    with pytest.raises(OutOfTimeError):
        deadline.check()
    assert Deadline().minutes_left is None
    with pytest.raises(ValueError, match="positive number of minutes"):
        Deadline(0)


def test_the_benchmark_stops_in_time_and_goes_on_where_it_was(tmp_path, data, monkeypatch, capsys):
    monkeypatch.setattr("accuracy_data.load", lambda *args, **options: data)
    monkeypatch.setitem(accuracy.PRESETS, "tiny", (replace(SETTING, epochs=3),))
    command = ["--preset", "tiny", "--methods", "approx", "--learning-rates", "0.01", "--seeds", "1"]
    command += ["--results", str(tmp_path / "rows.csv"), "--checkpoints", str(tmp_path / "runs")]
    monkeypatch.setattr(accuracy, "Deadline", lambda minutes: StopAfter(2 if minutes else 99))
    accuracy.main([*command, "--minutes", "1"])
    assert "The same command goes on" in capsys.readouterr().out
    assert not (tmp_path / "rows.csv").exists()
    (folder,) = (tmp_path / "runs").iterdir()
    assert Pieces(folder).load().epoch == 1
    accuracy.main(command)
    (row,) = accuracy.Results(tmp_path / "rows.csv").rows()
    assert (row["method"], row["epochs"]) == ("approx", "3")
    assert not list((tmp_path / "runs").iterdir())


def test_minutes_that_are_no_time_are_refused(capsys):
    with pytest.raises(SystemExit) as exit_:
        accuracy.main(["--minutes", "0"])
    assert exit_.value.code == 2
    assert "positive number of minutes" in capsys.readouterr().err


@pytest.mark.tensorflow
@pytest.mark.skipif(
    any(importlib.util.find_spec(m) is None for m in ("larq", "tf_keras")),
    reason="needs larq and tf-keras",
)
def test_larq_goes_on_from_a_checkpoint_too(tmp_path, rng):
    x = rng.integers(-128, 128, (16, 8, 8, 1)).astype("float32") / 128
    y = rng.integers(0, 10, 16)
    data = Data((x, y), (x, y), (x, y))
    # A process of its own does not know the network of the other tests.
    setting = replace(SETTING, network="digits", epochs=3)
    model = build("digits", METHODS["approx"].kit(), data.shape)
    weights = accuracy.own_weights(model)
    arguments = (setting, METHODS["larq-approx"], 1e-2, 0, data, weights)
    with pytest.raises(OutOfTimeError):
        accuracy.train_in_larq(*arguments, pieces=Pieces(tmp_path, Deadline(1e-5)))
    assert Pieces(tmp_path).load().epoch == 1
    pieces = accuracy.train_in_larq(*arguments, pieces=Pieces(tmp_path))
    # Our straight-through layers have the losses of Larq's, from equal weights and unbroken.
    whole = accuracy.train(model, setting, METHODS["approx"], 1e-2, 0, data)
    np.testing.assert_allclose(pieces["loss"], whole.losses, rtol=2e-3)
