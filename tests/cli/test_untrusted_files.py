"""A file that ends the process that runs it is bad input to a command, with exit code 2."""

import os

import keras
import pytest
from conftest import crashing, digit_network

import keras_sbn
from keras_sbn import cli

pytestmark = [
    pytest.mark.skipif(os.name == "nt", reason="Windows has no signals"),
    # LiteRT sees the damage in time, and so do the one-bit kernels.
    pytest.mark.lce,
]


@pytest.fixture
def bad(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = digit_network()
    keras_sbn.binarize(model)
    model.save("hard.keras")
    (tmp_path / "bad.tflite").write_bytes(crashing(keras_sbn.convert(model).content))


@pytest.mark.parametrize(
    "arguments",
    [
        ["benchmark", "bad.tflite", "--runs", "2", "--runtime", "lce"],
        ["verify", "hard.keras", "bad.tflite", "--samples", "2", "--runtime", "lce"],
        ["verify", "hard.keras", "bad.tflite", "--samples", "2", "--workers", "2", "--runtime", "lce"],
    ],
)
def test_a_file_that_crashes_the_engine_exits_with_2(arguments, bad, capsys):
    assert cli.main(arguments) == 2
    said = capsys.readouterr().err
    assert "keras-sbn: bad.tflite: Expected a process of its own to run bad.tflite" in said
    assert "ended by signal SIGSEGV (Segmentation fault)" in said


def test_modules_in_the_working_directory_do_not_run(bad, capsys, tmp_path):
    for name in ("numpy", "json", "types", "keras"):
        (tmp_path / f"{name}.py").write_text(f"open('{name} was imported', 'w').close()\n")
    keras_sbn.convert(keras.models.load_model("hard.keras")).save("good.tflite")
    verify = ["verify", "hard.keras", "good.tflite", "--samples", "4"]
    assert cli.main([*verify, "--workers", "2", "--kernel", "default"]) == 0
    said = capsys.readouterr().out
    assert "4 samples: 0 decisions differ" in said
    assert "the file ran in LCE, default kernel" in said
    assert not list(tmp_path.glob("* was imported"))
