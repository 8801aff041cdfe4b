"""Settings come back from TOML as they were, and wrong ones are named."""

from dataclasses import fields, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_sbn.training import TrainSettings
from keras_sbn.training.setting_types import SettingType, setting_types

NAMES = {setting.name for setting in fields(TrainSettings)}


def test_every_default_comes_back(tmp_path):
    defaults = TrainSettings()
    text = defaults.save(tmp_path / "run.toml").read_text()
    assert TrainSettings.read(tmp_path / "run.toml") == defaults
    for name in NAMES:
        assert f"{name} =" in text


@settings(max_examples=30, deadline=None)
@given(
    dataset=st.text(max_size=20).filter(lambda text: "\x00" not in text),
    learning_rate=st.floats(1e-30, 1e30),
    image_size=st.none() | st.tuples(st.integers(1, 999), st.integers(1, 999)),
    targets=st.sampled_from([(), ("lce",), ("lce", "tflite")]),
    augment=st.booleans(),
)
def test_any_settings_come_back(tmp_path_factory, **values):
    written = TrainSettings(**values)
    path = written.save(tmp_path_factory.mktemp("run") / "run.toml")
    assert TrainSettings.read(path) == written


def test_what_is_given_beside_the_file_wins(tmp_path):
    TrainSettings(epochs=7, model="resnet20").save(tmp_path / "run.toml")
    read = TrainSettings.read(tmp_path / "run.toml", epochs=3)
    assert read == replace(TrainSettings(), epochs=3, model="resnet20")
    (tmp_path / "short.toml").write_text("learning_rate = 1\nimage_size = [4, 5]\n")
    read = TrainSettings.read(tmp_path / "short.toml")
    assert (read.learning_rate, type(read.learning_rate), read.image_size) == (1.0, float, (4, 5))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epochs = ", "Expected a TOML file"),
        ("epoch = 3", r"Received: \['epoch'\]"),
        ("epochs = '3'", "Expected `epochs` to be int. Received: epochs='3'"),
        ("epochs = true", "Expected `epochs` to be int"),
        ("epochs = 0", "Expected `epochs` to be a positive integer"),
        ("model = 'vgg'", "Expected one of the models"),
        ("backend = 'mxnet'", "Expected `backend` to be one of"),
        ("targets = ['onnx']", "Expected `targets` to be one of"),
        ("image_size = [1, 2, 3]", "Expected `image_size` to be"),
        ("learning_rate = -1", "Expected `learning_rate` to be positive"),
        ("reestimate_samples = -1", "to be 0 or more"),
    ],
)
def test_wrong_settings(text, message, tmp_path):
    (tmp_path / "run.toml").write_text(text)
    with pytest.raises(ValueError, match=message):
        TrainSettings.read(tmp_path / "run.toml")


def test_types_are_those_of_the_annotations():
    kinds = setting_types(TrainSettings)
    assert kinds.keys() == NAMES
    assert kinds["epochs"] == SettingType(int)
    assert kinds["backend"] == SettingType(str, optional=True)
    assert kinds["image_size"] == SettingType(int, several=True, length=2, optional=True)
    assert kinds["targets"] == SettingType(str, several=True)
    assert kinds["image_size"].convert("image_size", [3, 4]) == (3, 4)
    with pytest.raises(
        ValueError, match=r"`image_size` to be 2 of int or nothing\. Received: image_size=\[3\]"
    ):
        kinds["image_size"].convert("image_size", [3])
    with pytest.raises(ValueError, match=r"`targets` to be tuple\[str, \.\.\.\]"):
        kinds["targets"].convert("targets", "lce")


def test_schedules():
    assert TrainSettings(sharpness_end=50.0).sharpness_schedule().end == 50
    assert TrainSettings(schedule="cosine", sharpness_end_at=0.5).sharpness_schedule().end_at == 0.5
    assert TrainSettings(schedule="adaptive").sharpness_schedule() is not None
