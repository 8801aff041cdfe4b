"""Larq models of every kind, against what Larq computes in float64."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_sbn
from keras_sbn.larq.building import build
from keras_sbn.larq.importing import from_description

pytestmark = pytest.mark.tensorflow
MODELS = ("mnist", "paddings", "kinds", "floats", "nested", "own_quantizers")
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What `larq_models.py` writes, in a process with Keras 2."""
    pytest.importorskip("tensorflow")
    if not _installed("larq") or not _installed("tf_keras"):
        pytest.skip("needs larq and tf-keras")
    path = tmp_path_factory.mktemp("larq")
    script = Path(__file__).with_name("larq_models.py")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    run = subprocess.run(
        [sys.executable, str(script), str(path)], env=environment, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr[-3000:]
    return path


def _installed(name):
    import importlib.util

    return importlib.util.find_spec(name) is not None


def _description(folder, name):
    return pickle.loads((folder / f"{name}.pickle").read_bytes())


@pytest.mark.parametrize("name", [*MODELS, "transposed"])
def test_every_decision_and_output_is_larqs_in_float64(folder, name):
    known = np.load(folder / f"{name}.npz")
    hard = build(_description(folder, name))
    folded, trace = keras_sbn.fold(hard, trace=True)
    np.testing.assert_allclose(folded(known["x"]), known["y64"], rtol=2e-5, atol=2e-5)
    np.testing.assert_allclose(hard(known["x"]), known["y"], rtol=2e-5, atol=2e-5)
    values = np.load(folder / f"{name}_values.npz")
    compared = 0
    for layer in values:
        place = trace.signs.get(f"{layer}_sign")
        if place is None:
            continue
        inner = keras.Model(folded.input, folded.get_layer(place).output)
        found = np.asarray(inner(known["x"])) > 0
        if found.shape == values[layer].shape:
            # Larq adds up scaled kernels, whose float64 sums can be 1e-17 where the exact one is 0.
            sure = (values[layer] == 0) | (np.abs(values[layer]) > 1e-12)
            np.testing.assert_array_equal(found[sure], values[layer][sure] >= 0, layer)
            compared += sure.sum()
    assert compared or name == "nested"


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("target", ["lce", "tflite"])
def test_the_files_are_larqs(folder, name, target):
    known = np.load(folder / f"{name}.npz")
    folded = from_description(_description(folder, name))
    # LCE has no binary depthwise kernel; in the separable layer of one float kernel no target has.
    converted = keras_sbn.convert(folded, target=target, allow_float_fallback=name == "kinds")
    np.testing.assert_allclose(converted.predict(known["x"]), known["y64"], rtol=2e-5, atol=2e-5)
    if name == "paddings":
        kinds = [row.kind for row in converted.report.layers if row.weights]
        assert kinds.count("binary") >= 4


def test_a_folded_model_is_saved_and_loaded(folder, tmp_path):
    known = np.load(folder / "floats.npz")
    from_description(_description(folder, "floats")).save(tmp_path / "folded.keras")
    loaded = keras.models.load_model(tmp_path / "folded.keras")
    np.testing.assert_allclose(loaded(known["x"]), known["y64"], rtol=2e-5, atol=2e-5)


def test_the_trainable_model_predicts_as_larq_and_learns(folder):
    known = np.load(folder / "mnist.npz")
    model = from_description(_description(folder, "mnist"), trainable=True)
    np.testing.assert_allclose(model(known["x"]), known["y"], rtol=2e-5, atol=2e-5)
    before = [np.asarray(weight) for weight in model.trainable_weights]
    description = _description(folder, "mnist")
    latent = description.layers[3].kernels["kernel"].latent
    np.testing.assert_array_equal(model.get_layer(description.layers[3].name).kernel, latent)
    model.compile(keras.optimizers.Adam(1e-2), "sparse_categorical_crossentropy")
    model.fit(known["x"], np.arange(8), epochs=1, verbose=0)
    after = [np.asarray(weight) for weight in model.trainable_weights]
    assert all((a != b).any() for a, b in zip(before, after, strict=True))


def test_other_quantizers_are_errors_that_name_the_layer_or_float(folder):
    description = _description(folder, "k_bits")
    with pytest.raises(ValueError, match=r"layer 'two_bits' with DoReFa\(k_bit=2"):
        from_description(description)
    folded = from_description(description, allow_float_fallback=True)
    known = np.load(folder / "k_bits.npz")
    np.testing.assert_allclose(folded(known["x"]), known["y64"], rtol=1e-5, atol=1e-5)
    converted = keras_sbn.convert(folded, allow_float_fallback=True)
    np.testing.assert_allclose(converted.predict(known["x"]), known["y64"], rtol=1e-5, atol=1e-5)


def test_a_kernel_of_three_values_is_an_error_that_names_the_layer_or_float(folder):
    description = _description(folder, "ternary")
    with pytest.raises(ValueError, match=r"layer 'three_values' with SteTern, which is not the sign"):
        from_description(description)
    known = np.load(folder / "ternary.npz")
    folded = from_description(description, allow_float_fallback=True)
    np.testing.assert_allclose(folded(known["x"]), known["y64"], rtol=1e-5, atol=1e-5)


def test_a_model_that_cannot_pass_says_which_layer_stands_in_the_way(folder):
    found = pickle.loads((folder / "unreadable.pickle").read_bytes())
    assert len(found) == 6
    for name, said in found.items():
        if not isinstance(said, str):
            with pytest.raises(ValueError, match="Expected") as error:
                build(said)
            said = str(error.value)
        assert "Expected" in said
        assert f"'{name}'" in said


def test_binarynet_has_one_bit_a_weight(folder):
    converted = keras_sbn.convert(from_description(_description(folder, "binarynet")))
    assert len(converted.content) <= 1_360_000
    assert converted.report.weights == 10_352_000
    kinds = [row.kind for row in converted.report.layers if row.weights]
    assert kinds[1:] == ["binary"] * 8


@pytest.mark.parametrize("name", ["mnist.keras", "mnist_saved_model"])
def test_a_file_is_read_in_a_process_of_its_own(folder, name):
    """The command below reads an .h5 file so."""
    known = np.load(folder / "mnist.npz")
    folded = keras_sbn.larq.from_larq(folder / name)
    np.testing.assert_allclose(folded(known["x"]), known["y64"], rtol=2e-5, atol=2e-5)
    assert keras_sbn.larq.process.has_keras_2() is False


def test_what_is_no_larq_model(tmp_path):
    with pytest.raises(FileNotFoundError, match="Expected a file or folder of a Larq model"):
        keras_sbn.larq.from_larq(tmp_path / "absent.h5")
    with pytest.raises(ValueError, match="Expected a Larq model, or the path of one"):
        keras_sbn.larq.from_larq(keras.Sequential([keras.Input((2,))]))


def test_the_command_converts_and_compares(folder, tmp_path, capsys):
    import json

    from keras_sbn.cli import main

    source, out = str(folder / "mnist.h5"), str(tmp_path / "model.tflite")
    assert main(["convert", "--from-larq", source, "--out", out, "--json"]) == 0
    theirs, ours = json.loads(capsys.readouterr().out)["comparison"]
    assert ours["file_bytes"] == Path(out).stat().st_size < theirs["file_bytes"]
    assert ours["binary"] > theirs["binary"]
    known = np.load(folder / "mnist.npz")
    found = keras_sbn.ConvertedModel.load(out).predict(known["x"])
    np.testing.assert_allclose(found, known["y64"], rtol=2e-5, atol=2e-5)
    assert main(["convert", "--from-larq", str(tmp_path / "absent.h5"), "--out", out]) == 2
    assert "Expected a file or folder of a Larq model" in capsys.readouterr().err
