import os
import subprocess
import sys
from pathlib import Path

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


class _Model:
    """Writes half of itself and fails, if it is told to."""

    def __init__(self, error=None):
        self._error = error

    def save(self, path):
        Path(path).write_bytes(b"half")
        if self._error is not None:
            raise self._error


def test_a_model_is_saved_whole(path):
    assert save_model(_Model(), path) == path
    assert path.read_bytes() == b"half"


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_model_whose_saving_is_interrupted_leaves_the_old_file(path, error):
    with pytest.raises(type(error)):
        save_model(_Model(error), path)
    assert path.read_bytes() == b"old"
    assert os.listdir(path.parent) == ["file"]
