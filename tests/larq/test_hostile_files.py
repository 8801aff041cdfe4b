"""Larq models from strangers: no code of the file runs, and what a folder holds of data is read."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from keras_sbn import cli
from keras_sbn.larq.loading import _OPERATORS

pytestmark = pytest.mark.tensorflow
ROOT = Path(__file__).parents[2]
#: A folder holds its model twice; the graph is left alone, so that the harmless half is read.
READ = "initializer_saved_model"
FILES = ("lambda.h5", "lambda.keras", "lambda_saved_model", "module.keras", "operator.h5", READ)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What `hostile_files.py` writes and finds, in a process with Keras 2."""
    for name in ("tensorflow", "larq", "tf_keras"):
        if not _installed(name):
            pytest.skip(f"needs {name}")
    path = tmp_path_factory.mktemp("hostile")
    script = Path(__file__).with_name("hostile_files.py")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    run = subprocess.run(
        [sys.executable, str(script), str(path)], env=environment, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr[-3000:]
    return path


def _installed(name):
    import importlib.util

    return importlib.util.find_spec(name) is not None


@pytest.mark.parametrize("name", FILES)
def test_no_code_of_the_file_runs(folder, name):
    found = json.loads((folder / "found.json").read_text())
    # The file is as hostile as it should be: loaded without safe mode its code does run.
    assert found[f"{name} unsafe"][1], found[f"{name} unsafe"]
    said, ran = found[f"{name} safe"]
    assert not ran
    if name == READ:
        assert said == "Description"
        return
    assert said.startswith(f"UntrustedCodeError: {folder / name}: Expected layers of Keras and Larq")
    shown = {"module.keras": "evil_module.Unknown", "operator.h5": "TFOpLambda of 'io.write_file'"}
    assert shown.get(name, "Lambda (layer 'evil')") in said
    assert "safe_mode=False (--unsafe)" in said


def test_the_command_line_says_it_too(folder, capsys):
    command = ["convert", "--from-larq", str(folder / "lambda.h5"), "--out", str(folder / "out.tflite")]
    assert cli.main(command) == 2
    assert "Lambda (layer 'evil')" in capsys.readouterr().err
    assert not (folder / "marker").exists()
    assert not (folder / "out.tflite").exists()


@pytest.mark.parametrize(
    "name",
    [
        "io.write_file",
        "io.gfile.rmtree",
        "raw_ops.WriteFile",
        "py_function",
        "numpy_function",
        "load_op_library",
        "math.x.write_file",
        "keras.utils.get_file",
        "keras.backend.function",
        "debugging.experimental.enable_dump_debug_info",
        "compat.v1.py_func",
        "math.add\n",
        "",
    ],
)
def test_operators_that_do_more_than_compute_are_not_known(name):
    assert not _OPERATORS["TFOpLambda"].fullmatch(name)


@pytest.mark.parametrize("name", ["math.add", "__operators__.add", "nn.relu", "concat", "image.resize"])
def test_operators_that_compute_are_known(name):
    assert _OPERATORS["TFOpLambda"].fullmatch(name)


def test_a_module_beside_the_model_is_not_imported(folder, monkeypatch):
    """The child process of Keras 2 starts in the folder of the model, which is not on its path."""
    import keras_sbn

    place = folder / "beside"
    place.mkdir()
    for name in ("numpy", "types", "pickle", "tempfile", "larq", "tensorflow"):
        (place / f"{name}.py").write_text(f"open({str(folder / 'marker')!r}, 'w')\n")
    monkeypatch.chdir(place)
    model = keras_sbn.larq.from_larq(folder / READ)
    assert model.output_shape == (None, 4)
    assert not (folder / "marker").exists()
