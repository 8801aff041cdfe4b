"""A run that is killed anywhere and resumed ends as the one that nothing interrupts."""

import importlib.util
import shutil

import keras
import numpy as np
import pytest

from keras_sbn.extras import remedy
from keras_sbn.training import TrainSettings, train
from keras_sbn.training.lock import locked

pytest.importorskip("matplotlib")

#: A run of a few seconds, which needs no runtime.
SETTINGS = TrainSettings(
    epochs=3,
    alpha=0.25,
    batch_size=16,
    train_samples=128,
    validation_samples=32,
    targets=(),
    threads=0,
)


def run(folder, resume=False, settings=SETTINGS):
    lines = []
    return train(settings, folder, resume, lines.append), "\n".join(lines)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "unbroken"
    return folder, run(folder)[0]


@pytest.fixture
def killed(unbroken, tmp_path):
    """What a process leaves that is killed after its last epoch."""
    folder = tmp_path / "killed"
    folder.mkdir()
    shutil.copy(unbroken[0] / "run.toml", folder)
    shutil.copytree(unbroken[0] / "checkpoints", folder / "checkpoints")
    # The row of the last epoch is not written yet, and other files are half written.
    rows = (unbroken[0] / "history.csv").read_text().splitlines()
    (folder / "history.csv").write_text("\n".join(rows[:-1]) + "\n")
    (folder / ".history.csv.abcdefgh").touch()
    (folder / "sharpness.npz").write_bytes(b"")
    return folder


def files(folder):
    return sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and "logs" not in path.parts
    )


def assert_same_models(folder, other, **tolerance):
    found, expected = (keras.models.load_model(one / "model.keras").weights for one in (folder, other))
    for one, two in zip(found, expected, strict=True):
        np.testing.assert_allclose(
            keras.ops.convert_to_numpy(one),
            keras.ops.convert_to_numpy(two),
            err_msg=one.path,
            **{"rtol": 0, **tolerance},
        )


def test_the_best_epoch_is_kept_beside_the_last(unbroken):
    folder, result = unbroken
    hard = result.history["val_hard_accuracy"]
    assert result.best_epoch == int(np.argmax(hard)) + 1
    assert result.to_dict()["best_epoch"] == result.best_epoch
    assert f"best epoch by hard accuracy: {result.best_epoch} of 3 with {100 * max(hard):.2f} %" in str(
        result
    )
    assert (folder / "checkpoints" / "best.keras").exists()
    assert not (folder / ".lock").exists()


def test_killed_after_its_last_epoch(unbroken, killed):
    run(killed, resume=True)
    assert_same_models(killed, unbroken[0])
    assert (killed / "history.csv").read_text() == (unbroken[0] / "history.csv").read_text()
    assert files(killed) == files(unbroken[0])


def test_killed_in_its_last_epoch_and_resumed_without_tensorboard(unbroken, killed, monkeypatch):
    for path in (killed / "checkpoints").glob("epoch-00003.*"):
        path.unlink()
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "tensorboard" else find(name)
    )
    (killed / "sharpness.npz").unlink()
    result, said = run(killed, resume=True)
    assert "resuming after epoch 2 of 3" in said
    assert "no logs for TensorBoard: " in said
    assert remedy("tensorboard") in said
    assert result.history.keys() == unbroken[1].history.keys()
    assert "flip_ratio" in result.history
    assert all(len(values) == 3 for values in result.history.values())
    assert_same_models(killed, unbroken[0], rtol=1e-4, atol=1e-4)
    assert files(killed) == files(unbroken[0])


def test_two_at_once(killed):
    with (
        locked(killed),
        pytest.raises(ValueError, match=r"Expected a folder in which no other process trains"),
    ):
        run(killed, resume=True)


@pytest.mark.parametrize("text", ["", 'model = "tinyconv"\n'])
def test_settings_that_were_lost_are_not_the_defaults(killed, text):
    (killed / "run.toml").write_text(text)
    settings = TrainSettings.read(killed / "run.toml")
    with pytest.raises(ValueError, match=r"all settings of the run in .*run\.toml\. .*without .*dataset"):
        run(killed, True, settings)
    assert (killed / "run.toml").read_text() == text


def test_a_checkpoint_of_another_width(killed):
    import dataclasses

    wider = dataclasses.replace(SETTINGS, alpha=0.5, backend=keras.backend.backend())
    wider.save(killed / "run.toml")
    with pytest.raises(ValueError, match=r"epoch-00003\.keras, whose weight .* belongs to another run"):
        run(killed, True, wider)


def test_the_old_name_of_print_fn(tmp_path):
    (tmp_path / "run.toml").touch()
    other = pytest.raises(ValueError, match="which holds one")
    with pytest.warns(DeprecationWarning, match="`say` of train is `print_fn` now"), other:
        train(SETTINGS, tmp_path, say=print)
