"""Plots: files with the pictures that were asked for, without pyplot."""

import math

import keras
import numpy as np
import pytest
import small_models

import keras_sbn
from keras_sbn.callbacks.record_weights import BIN_EDGES, WeightSnapshot
from keras_sbn.plots import confusion_matrix, images, training_history, weight_histograms

figures = pytest.importorskip("matplotlib.figure")

HISTORY = {
    "loss": [2.0, 1.0, 0.5],
    "accuracy": [0.3, 0.6, 0.9],
    "val_accuracy": [0.3, 0.5, 0.8],
    "val_hard_accuracy": [0.2, 0.3, 0.8],
    "sharpness": [1.0, 1e3, 1e7],
}


@pytest.fixture
def drawn(monkeypatch):
    """The figures that are saved."""
    saved = []
    save = figures.Figure.savefig

    def savefig(self, *args, **kwargs):
        saved.append(self)
        return save(self, *args, **kwargs)

    monkeypatch.setattr(figures.Figure, "savefig", savefig)
    return saved


def test_training_history_marks_the_hard_epochs(tmp_path, drawn):
    training_history({**HISTORY, "sharpness": [1.0, 1e6, math.inf]}, tmp_path / "history.png")
    (span,) = drawn[0].axes[1].patches
    assert span.get_label() == "hard, ν = ∞"
    assert (span.get_x(), span.get_width()) == (2, 1)


def is_png(path):
    return path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 5000


def test_training_history(tmp_path, drawn):
    path = training_history(HISTORY, tmp_path / "new" / "history.png")
    assert is_png(path)
    accuracy, sharpness = drawn[0].axes
    lines = {line.get_label(): line.get_ydata().tolist() for line in accuracy.lines}
    assert lines == {
        "training": HISTORY["accuracy"],
        "validation": HISTORY["val_accuracy"],
        "validation, hard (sign)": HISTORY["val_hard_accuracy"],
    }
    assert accuracy.lines[0].get_xdata().tolist() == [1, 2, 3]
    assert accuracy.get_ylabel() == "accuracy"
    assert sharpness.get_yscale() == "log"
    assert sharpness.get_xlabel() == "epoch"
    assert sharpness.lines[0].get_ydata().tolist() == HISTORY["sharpness"]


def test_training_history_takes_what_there_is(tmp_path, drawn):
    record = keras.callbacks.History()
    record.history = {"loss": [2.0, 1.0]}
    assert is_png(training_history(record, tmp_path / "a.png"))
    (axes,) = drawn[0].axes
    assert axes.get_ylabel() == "loss"
    separate = {**HISTORY, "activation_sharpness": [1.0, 10.0, 100.0]}
    training_history(separate, tmp_path / "b.png", metric="loss")
    labels = [line.get_label() for line in drawn[1].axes[1].lines]
    assert labels == ["weights", "activations"]
    with pytest.raises(ValueError, match=r"Expected a history with 'loss'.*Received"):
        training_history({"sharpness": [1.0]}, tmp_path / "c.png")


def snapshots(number, settled):
    """Two layers whose weights arrive at -1 and +1 at snapshot `settled`."""
    spread, ends = np.ones(len(BIN_EDGES) - 1), np.zeros(len(BIN_EDGES) - 1)
    ends[[0, -1]] = 20
    return [
        WeightSnapshot(index, 10.0**index, {"conv": counts, "dense": counts})
        for index, counts in enumerate([spread] * settled + [ends] * (number - settled))
    ]


def test_weight_histograms(tmp_path, drawn):
    path = weight_histograms(snapshots(11, 8), tmp_path / "weights.png")
    assert is_png(path)
    titles = [axes.get_title().split("\n")[0] for axes in drawn[0].axes[:5]]
    assert titles == ["epoch 0", "epoch 3", "epoch 5", "epoch 8", "epoch 10"]
    assert len(drawn[0].axes) == 10
    assert drawn[0].axes[5].get_ylabel() == "dense"
    first = drawn[0].axes[0].patches[0].get_data()
    np.testing.assert_allclose(first.values.sum(), 1)


def test_weight_histograms_of_one_moment_and_of_infinity(tmp_path, drawn):
    network = small_models.model()
    keras_sbn.binarize(network)
    snapshot = keras_sbn.callbacks.record_weights.take_snapshot(network)
    assert is_png(weight_histograms([snapshot], tmp_path / "weights.png"))
    assert drawn[0].axes[0].get_title() == "epoch 0\nν = ∞"
    with pytest.raises(ValueError, match="Expected at least one snapshot"):
        weight_histograms([], tmp_path / "none.png")
    with pytest.raises(ValueError, match=r"Expected `moments` .*Received: moments=1"):
        weight_histograms([snapshot], tmp_path / "none.png", moments=1)


def test_nothing_heavy_is_imported_before_it_is_used():
    loaded = small_models.run_child(
        """
        import json, sys
        import keras
        before = set(sys.modules)
        import keras_sbn
        print(json.dumps(sorted({name.split(".")[0] for name in set(sys.modules) - before})))
        """,
        # Keras on TensorFlow would have imported some of them.
        KERAS_BACKEND=small_models.LIGHT_BACKEND,
    )
    assert "keras_sbn" in loaded
    assert not {"matplotlib", "tensorboard", "tensorflow", "larq"} & set(loaded)


def test_confusion_matrix_has_numbers_where_they_can_be_read(tmp_path, drawn):
    counts = np.array([[7, 1], [0, 0]])
    assert is_png(confusion_matrix(counts, ["cat", "dog"], tmp_path / "small.png"))
    (axes,) = drawn[0].axes
    assert {text.get_text(): text.get_position() for text in axes.texts} == {"7": (0, 0), "1": (1, 0)}
    np.testing.assert_allclose(axes.images[0].get_array(), [[7 / 8, 1 / 8], [0, 0]])
    assert [label.get_text() for label in axes.get_yticklabels()] == ["cat", "dog"]
    confusion_matrix(np.eye(41, dtype=int), [str(i) for i in range(41)], tmp_path / "large.png")
    assert not drawn[1].axes[0].texts
    with pytest.raises(ValueError, match=r"of 3 classes, \(3, 3\). Received: \(2, 2\)"):
        confusion_matrix(counts, "abc", tmp_path / "wrong.png")


@pytest.mark.parametrize("channels", [1, 3])
def test_images_have_their_captions(channels, tmp_path, drawn, rng):
    pictures = rng.integers(0, 256, (9, 8, 8, channels), dtype="uint8")
    captions = [f"a {i}, not a {i + 1}" for i in range(9)]
    assert is_png(images(pictures, captions, tmp_path / "images.png"))
    shown = [axes for axes in drawn[0].axes if axes.images]
    assert [axes.get_title() for axes in shown] == captions
    expected = pictures[8] if channels == 3 else pictures[8, ..., 0]
    np.testing.assert_array_equal(shown[8].images[0].get_array(), expected)
    with pytest.raises(ValueError, match=r"a caption each. Received: 9 and 0"):
        images(pictures, [], tmp_path / "wrong.png")
