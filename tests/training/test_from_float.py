"""Runs that begin with a float model: made binary, taught by it, shown beside it; killed and resumed."""

import importlib.util
import json
import shutil

import keras
import numpy as np
import pytest

from keras_sbn import cli
from keras_sbn.tflite.interpreter import TFLITE_RUNTIMES
from keras_sbn.training import TrainSettings, train

pytest.importorskip("matplotlib")
if not any(map(importlib.util.find_spec, TFLITE_RUNTIMES)):
    pytest.skip("no runtime for stock files is installed", allow_module_level=True)

HAS_TENSORFLOW = importlib.util.find_spec("tensorflow") is not None


@pytest.fixture(scope="module")
def float_file(tmp_path_factory):
    """A float model of the digits, trained on values from 0 to 1."""
    path = tmp_path_factory.mktemp("float") / "float.keras"
    keras.utils.set_random_seed(3)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(8, 3, activation="relu", name="first"),
            keras.layers.MaxPooling2D(),
            keras.layers.Conv2D(16, 2, activation="relu", name="second"),
            keras.layers.Flatten(),
            keras.layers.Dense(10, activation="softmax", name="last"),
        ]
    )
    model.compile(
        keras.optimizers.Adam(1e-2),
        "sparse_categorical_crossentropy",
        jit_compile=keras.backend.backend() == "jax",
    )
    x, y = TrainSettings().load_data().arrays("train")
    model.fit(x, y, epochs=6, verbose=0)
    model.save(path)
    return path


def settings_of(path, **options):
    return TrainSettings(
        source=str(path),
        teacher=str(path),
        epochs=3,
        batch_size=64,
        train_samples=512,
        validation_samples=64,
        tensorboard=False,
        **options,
    )


@pytest.fixture(scope="module")
def run(float_file, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "unbroken"
    lines = []
    result = train(settings_of(float_file), folder, print_fn=lines.append)
    return folder, result, "\n".join(lines)


def test_float_int8_and_binary_stand_side_by_side(run):
    folder, result, said = run
    names = [one.name for one in result.beside]
    assert names == ["float32", "int8, post-training", "binary", "binary"]
    float32, int8, *binary = result.beside
    assert float32.accuracy > 0.8
    assert f"{100 * float32.accuracy:.2f} % of the validation images as a float model" in said
    assert "SelfBinarizingConv2D" in said
    assert [one.accuracy for one in binary] == [result.accuracy["folded"]] * 2
    assert [one.bytes for one in binary] == [file.bytes for file in result.files]
    if HAS_TENSORFLOW:
        assert int8.accuracy == pytest.approx(float32.accuracy, abs=0.06)
        sizes = [(folder / f"model_{name}.tflite").stat().st_size for name in ("float32", "int8")]
        assert [float32.bytes, int8.bytes] == sizes
        assert min(float32.median_ms, int8.median_ms) > 0
    else:
        assert int8.accuracy is int8.bytes is float32.bytes is None
        assert "TensorFlow, whose converter makes it, is not installed" in int8.note
    page = (folder / "report.html").read_text(encoding="utf-8")
    for text in ("Beside the float model", "int8, post-training", f"{binary[0].bytes:,}"):
        assert text in page
        assert text in str(result) or text == "Beside the float model"


def test_the_run_says_what_it_was_and_keeps_the_student(run, float_file):
    folder, result, _ = run
    settings = TrainSettings.read(folder / "run.toml")
    assert (settings.source, settings.teacher) == (str(float_file), str(float_file))
    assert "teacher_loss" in result.history
    model = keras.models.load_model(folder / "model.keras")
    assert {"first", "second", "last"} <= {layer.name for layer in model.layers}
    assert len(model.weights) == len(settings.build_model(settings.load_data()).weights)


def test_killed_and_resumed_it_gives_what_it_gives_unbroken(run, float_file, tmp_path, capsys):
    _, expected, _ = run

    def killed(line):
        if line.startswith("epoch   2/3"):
            raise KeyboardInterrupt

    folder = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        train(settings_of(float_file), folder, print_fn=killed)
    # Another file in the place of the float model would be another teacher.
    moved = tmp_path / "kept.keras"
    shutil.move(float_file, moved)
    resume = ["train", "--out", str(folder), "--resume"]
    try:
        assert cli.main(resume) == 2
        assert "which is not there; bring it back to resume" in capsys.readouterr().err
        float_file.write_bytes(b"another")
        assert cli.main(resume) == 2
        assert "with other contents; bring the old ones back" in capsys.readouterr().err
    finally:
        shutil.move(moved, float_file)
    assert cli.main([*resume, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    for name in ("loss", "teacher_loss", "val_loss"):
        np.testing.assert_allclose(found["history"][name], expected.history[name], rtol=1e-3, atol=1e-3)
    assert found["accuracy"] == pytest.approx(expected.accuracy, abs=0.02)
    assert [one["name"] for one in found["beside"]] == [one.name for one in expected.beside]


def test_a_float_model_that_does_not_fit_leaves_nothing(float_file, tmp_path, capsys):
    inputs = keras.Input((8, 8, 1))
    flat = keras.layers.Flatten()(inputs)
    for name, outputs in (
        ("few", keras.layers.Dense(3)(flat)),
        ("sigmoid", keras.layers.Dense(10, activation="sigmoid")(flat)),
        ("flat", keras.layers.Dense(10)(flat)),
    ):
        keras.Model(inputs, outputs).save(tmp_path / f"{name}.keras")
    (tmp_path / "broken.keras").write_text("no model")
    large = keras.Input((16, 12, 1))
    keras.Model(large, keras.layers.Dense(10)(keras.layers.Flatten()(large))).save(
        tmp_path / "large.keras"
    )
    out = tmp_path / "run"
    source = ["--from", str(float_file)]

    def at(name):
        return str(tmp_path / f"{name}.keras")

    for arguments, message in (
        (["--from", at("none")], "which is no file"),
        (["--from", at("broken")], "Expected the .keras file of a model in --from"),
        (["--from", at("few")], "the 10 classes of digits in --from"),
        (["--from", at("sigmoid")], "which ends in a sigmoid"),
        (["--from", at("large")], "bring the images to its size: --image-size 16 12"),
        (["--from", at("flat")], "no layer"),
        ([*source, "--teacher", at("few")], "the 10 classes of digits in --teacher"),
        ([*source, "--policy", "vgk"], "Did you mean 'vgg'?"),
        ([*source, "--keep", "frist"], "Did you mean 'first'?"),
        ([*source, "--temperature", "2"], "only together with --teacher"),
        (["--keep", "first"], "only together with --from"),
        (["--teacher"], "or give --from as well"),
        ([*source, "--teacher", "--teacher-weight", "0"], "Expected `teacher_weight` to be positive"),
    ):
        code = cli.main(["train", "--out", str(out), *arguments])
        said = capsys.readouterr().err
        assert code == 2, said
        if message != "no layer":
            assert message in said
        assert not out.exists()


def test_a_float_model_at_chance_is_said_to_see_other_values(float_file, tmp_path):
    settings = TrainSettings(
        source=str(float_file),
        input_scaling=(1e-6, -5.0),
        epochs=1,
        train_samples=64,
        validation_samples=32,
        tensorboard=False,
        targets=(),
    )
    lines = []

    class StopError(Exception):
        pass

    def until(line):
        lines.append(line)
        if "--input-scaling" in line:
            raise StopError

    with pytest.raises(StopError):
        train(settings, tmp_path / "run", print_fn=until)
    assert "which is about chance. It gets 1e-06 * image + -5" in lines[-1]
    assert not (tmp_path / "run").exists()
