"""Which runtime a stock file runs in, and that each of them gives the same."""

import importlib
import importlib.util

import numpy as np
import pytest
from conftest import digit_network, images, randomize

import keras_sbn
from keras_sbn.tflite import interpreter
from keras_sbn.tflite.schema import load_module

RUNTIMES = interpreter.TFLITE_RUNTIMES


@pytest.fixture(autouse=True)
def _choose_again():
    interpreter._tflite_runtime.cache_clear()
    yield
    interpreter._tflite_runtime.cache_clear()


def _install(monkeypatch, *packages):
    """Only these runtimes are there."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name if name in packages else None)


@pytest.mark.parametrize(
    ("installed", "module"),
    [
        (("tensorflow",), "tensorflow.lite.python.interpreter"),
        (("tflite_runtime", "tensorflow"), "tflite_runtime.interpreter"),
        (("ai_edge_litert", "tflite_runtime", "tensorflow"), "ai_edge_litert.interpreter"),
    ],
)
def test_the_smallest_installed_runtime_runs_stock_files(installed, module, monkeypatch):
    chosen = []
    _install(monkeypatch, *installed)
    monkeypatch.setattr(importlib, "import_module", chosen.append)
    interpreter._tflite_runtime()
    assert chosen == [module]


@pytest.mark.lce
def test_a_numpy_that_is_too_new_for_the_engine_is_an_error_with_the_remedy(monkeypatch):
    monkeypatch.setattr(interpreter.np, "__version__", "2.1.0")
    with pytest.raises(ImportError, match=r"Expected NumPy < 2.*Received: NumPy 2\.1\.0\. pip install"):
        interpreter._extension.__wrapped__()


def test_without_the_engine_the_error_names_the_remedy(monkeypatch):
    monkeypatch.setattr(interpreter, "file_of_package", lambda *names: None)
    with pytest.raises(ImportError, match="larq-compute-engine, which is not installed: "):
        interpreter._extension.__wrapped__()


def test_a_file_that_is_no_module_is_not_loaded(tmp_path):
    with pytest.raises(ImportError, match=r"Expected a Python module\. Received: notes\.txt"):
        load_module("notes", tmp_path / "notes.txt")


def test_without_a_runtime_the_error_names_the_remedy(monkeypatch):
    _install(monkeypatch)
    with pytest.raises(ImportError, match=r"none is installed: pip install 'keras-sbn\[litert\]'"):
        interpreter.TfliteInterpreter(b"")


@pytest.mark.parametrize("package", RUNTIMES)
def test_every_runtime_decides_as_the_hard_model(package, monkeypatch, rng):
    pytest.importorskip(RUNTIMES[package])
    model = digit_network()
    randomize(model, rng)
    keras_sbn.binarize(model)
    converted = keras_sbn.convert(model, target="tflite")
    monkeypatch.setattr(interpreter, "TFLITE_RUNTIMES", {package: RUNTIMES[package]})
    x = images(rng, (7, 6, 2))
    for xnnpack in (True, False):
        engine = interpreter.TfliteInterpreter(converted.content, xnnpack=xnnpack)
        assert type(engine._engine).__module__.startswith(package)
        (received,) = engine.predict([x])
        np.testing.assert_allclose(received, model.predict(x, verbose=0), rtol=1e-5, atol=1e-5)
    verification = keras_sbn.verify(converted, model, x)
    assert verification, str(verification)
