import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_sbn
from keras_sbn.files import save_model, write_atomically

#: Loads the module alone, so that the process starts at once, and dies in the middle of a write.
KILLED = """
import importlib.util, os, signal, sys
spec = importlib.util.spec_from_file_location("files", sys.argv[1])
files = importlib.util.module_from_spec(spec)
spec.loader.exec_module(files)
os.fsync = lambda descriptor: os.kill(os.getpid(), signal.SIGKILL)
files.write_atomically(sys.argv[2], b"new" * 100_000)
"""


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    return path


def test_replaces_the_file(path):
    assert write_atomically(path, b"new") == path
    assert path.read_bytes() == b"new"
    assert os.listdir(path.parent) == ["file"]


@pytest.mark.parametrize("step", ["fsync", "chmod", "replace"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(path, step, error, monkeypatch):
    def fail(*arguments):
        raise error

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(type(error)):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(path.parent) == ["file"]


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_a_killed_process_leaves_the_old_file_whole(path):
    module = Path(keras_sbn.__file__).parent / "files.py"
    run = subprocess.run([sys.executable, "-S", "-c", KILLED, str(module), str(path)])
    assert run.returncode == -9
    assert path.read_bytes() == b"old"


def small_model():
    return keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])


def test_a_model_is_saved_whole(path):
    model = small_model()
    target = path.with_name("model.keras")
    assert save_model(model, target) == target
    assert sorted(os.listdir(path.parent)) == ["file", "model.keras"]
    assert target.stat().st_mode == path.stat().st_mode
    again = keras.models.load_model(target)
    for ours, theirs in zip(again.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_an_interrupted_saving_leaves_the_old_model_and_nothing_else(path, monkeypatch):
    target = path.with_name("model.keras")
    target.write_bytes(b"old")

    def fail(model, temporary, **options):
        Path(temporary).write_bytes(b"half")
        raise KeyboardInterrupt

    model = small_model()
    monkeypatch.setattr(type(model), "save", fail)
    with pytest.raises(KeyboardInterrupt):
        save_model(model, target)
    assert target.read_bytes() == b"old"
    assert sorted(os.listdir(path.parent)) == ["file", "model.keras"]


def test_a_missing_folder_is_named(tmp_path):
    for write in (lambda path: write_atomically(path, b""), lambda path: save_model(small_model(), path)):
        with pytest.raises(FileNotFoundError, match=r"Expected a folder that can be written.*missing'"):
            write(tmp_path / "missing" / "model.keras")
