import os
import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest
from conftest import digit_network, images, randomize

import keras_sbn
from keras_sbn.callbacks import Sharpen


@pytest.fixture
def model(rng):
    model = digit_network()
    randomize(model, rng)
    keras_sbn.binarize(model)
    return model


def test_saves_the_bytes(model, tmp_path):
    converted = keras_sbn.convert(model)
    path = converted.save(tmp_path / "model.tflite")
    assert path.read_bytes() == converted.content
    assert os.listdir(tmp_path) == ["model.tflite"]


def test_a_folder_that_is_not_there_leaves_nothing(model, tmp_path):
    converted = keras_sbn.convert(model)
    with pytest.raises(OSError, match="Expected a folder that can be written"):
        converted.save(tmp_path / "missing" / "model.tflite")
    assert os.listdir(tmp_path) == []


def test_an_interrupted_write_leaves_the_old_file_whole(model, tmp_path, monkeypatch):
    converted = keras_sbn.convert(model)
    path = tmp_path / "model.tflite"
    path.write_bytes(b"old")

    def fail(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        converted.save(path)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["model.tflite"]


def test_a_saved_file_loads_and_predicts_the_same(model, tmp_path, rng):
    x = images(rng, (7, 6, 2), 8)
    for target in ("lce", "tflite"):
        converted = keras_sbn.convert(model, target=target)
        loaded = keras_sbn.ConvertedModel.load(converted.save(tmp_path / "model.tflite"))
        assert (loaded.target, loaded.input_names) == (target, ("image",))
        np.testing.assert_array_equal(loaded.predict(x), converted.predict(x))


def test_the_same_model_gives_the_same_bytes(model):
    assert keras_sbn.convert(model).content == keras_sbn.convert(keras_sbn.fold(model)).content


def test_a_trained_model_loaded_in_a_new_process_trains_on_and_converts_to_the_same_bytes(rng, tmp_path):
    model = digit_network()
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    x, y = images(rng, (7, 6, 2)), rng.integers(0, 3, 64)
    model.fit(x, y, epochs=2, batch_size=16, callbacks=[Sharpen()], verbose=0)
    model.save(tmp_path / "model.keras")
    np.savez(tmp_path / "data.npz", x=x, y=y)
    keras_sbn.convert(model).save(tmp_path / "here.tflite")
    code = f"""
        import keras, keras_sbn, numpy as np
        folder = {str(tmp_path)!r}
        model = keras.models.load_model(folder + "/model.keras")
        keras_sbn.convert(model).save(folder + "/there.tflite")
        data = np.load(folder + "/data.npz")
        weights = [w.copy() for w in model.get_weights()]
        history = model.fit(data["x"], data["y"], epochs=2, verbose=0,
                            callbacks=[keras_sbn.callbacks.Sharpen()])
        assert np.isfinite(history.history["loss"]).all()
        assert any((a != b).any() for a, b in zip(weights, model.get_weights()))
        keras_sbn.convert(model)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)
    there = (tmp_path / "there.tflite").read_bytes()
    assert there == (tmp_path / "here.tflite").read_bytes()
