"""The scripts and the notebook of `examples/` run, shortened by their own options."""

import importlib.util
import json
import runpy
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_sbn
from keras_sbn.extras import why_not_run

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def run(name, *arguments):
        monkeypatch.setattr(sys, "argv", [name, *arguments])
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return capsys.readouterr().out

    return run


@pytest.mark.parametrize("name", ["quickstart.py", "float_to_binary.py"])
def test_digits(run, name, tmp_path):
    assert "360 samples: 0 decisions differ" in run(name, "--epochs", "1")
    assert (tmp_path / name.replace(".py", ".tflite")).stat().st_size > 0


@pytest.mark.tensorflow
def test_custom_training_loop(run):
    printed = run("custom_training_loop.py", "--epochs", "1")
    assert "epoch 1: loss" in printed
    assert "360 samples: 0 decisions differ" in printed


def test_keyword_conv1d(run):
    printed = run("keyword_conv1d.py", "--epochs", "1", "--samples", "256")
    runnable = [target for target in ("lce", "tflite") if why_not_run(target) is None]
    assert printed.count("500 samples: 0 decisions differ") == len(runnable)


def test_cifar10_folder(run, tmp_path):
    pillow = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(0)
    for label in ("cat", "ship"):
        folder = tmp_path / "images" / label
        folder.mkdir(parents=True)
        for index in range(10):
            pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            pillow.fromarray(pixels).save(folder / f"{index}.png")
    short = ("--epochs", "1", "--batch-size", "8", "--model", "tinyconv", "--alpha", "0.25")
    run("cifar10_folder.py", str(tmp_path / "images"), *short)
    converted = keras_sbn.ConvertedModel.load(tmp_path / "cifar10_folder.tflite")
    assert converted.predict(np.zeros((1, 32, 32, 3), np.uint8)).shape == (1, 2)


def test_from_larq(run, tmp_path):
    if not all(importlib.util.find_spec(name) for name in ("larq", "tf_keras")):
        pytest.skip("needs larq and tf-keras")
    model = keras.Sequential([keras.Input((8,)), keras_sbn.layers.SelfBinarizingDense(2)])
    keras_sbn.binarize(model)
    keras_sbn.larq.to_larq(model, "larq_model.h5")
    printed = run("from_larq.py", "larq_model.h5")
    assert "64 samples: 0 decisions differ" in printed
    assert (tmp_path / "from_larq.keras").exists()


def test_notebook(tmp_path, monkeypatch):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.switch_backend("Agg")
    monkeypatch.chdir(tmp_path)
    notebook = json.loads((EXAMPLES / "quickstart.ipynb").read_text(encoding="utf-8"))
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert any("EPOCHS = 12\n" in cell for cell in cells)
    names = {}
    for number, code in enumerate(cells, 1):
        short = code.replace("EPOCHS = 12\n", "EPOCHS = 2\n")
        exec(compile(short, f"quickstart.ipynb, cell {number}", "exec"), names)
    pyplot.close("all")
    assert (tmp_path / "notebook.tflite").stat().st_size > 0
