"""Whole runs on the digits: killed and resumed, repeated from their TOML, on several devices."""

import importlib.util
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import keras
import numpy as np
import pytest
from small_models import ROOT, run_child

import keras_sbn
from keras_sbn import cli
from keras_sbn.extras import why_not_run
from keras_sbn.tflite.interpreter import TFLITE_RUNTIMES
from keras_sbn.training import TrainSettings, progress, train
from keras_sbn.training.checkpoints import Checkpoints
from keras_sbn.training.mistakes import Mistakes
from keras_sbn.training.page import write_page

pytest.importorskip("matplotlib")
if not any(map(importlib.util.find_spec, TFLITE_RUNTIMES)):
    pytest.skip("no runtime for stock files is installed", allow_module_level=True)

#: A run of a few seconds.
SMALL = {
    "epochs": 4,
    "alpha": 0.25,
    "batch_size": 16,
    "train_samples": 768,
    "validation_samples": 64,
    "reestimate_samples": 128,
    "tensorboard": False,
}
#: The same on the command line.
ARGUMENTS = [
    part
    for name, value in SMALL.items()
    for part in (
        ["--no-tensorboard"] if name == "tensorboard" else [f"--{name.replace('_', '-')}", str(value)]
    )
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run that nothing interrupts: its folder, its result, and what it said."""
    folder = tmp_path_factory.mktemp("runs") / "unbroken"
    lines = []
    result = train(TrainSettings(**SMALL), folder, print_fn=lines.append)
    return folder, result, "\n".join(lines)


#: As `python -m keras_sbn`. A shell that runs the tests in the background has them ignore Ctrl-C.
_COMMAND = """
import runpy, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
runpy.run_module("keras_sbn", run_name="__main__", alter_sys=True)
"""


def start(folder, *arguments):
    """Starts the real command in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-c", _COMMAND, "train", "--out", str(folder), *arguments]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def without(monkeypatch, *missing):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in missing else find(name))
    for name in missing:
        monkeypatch.delitem(sys.modules, name, raising=False)


def test_writes_what_it_says(run):
    folder, result, said = run
    for name in ("model.keras", "model_lce.tflite", "model_tflite.tflite", "history.csv"):
        assert (folder / name).stat().st_size > 0
        assert name in said
    assert re.search(r"epoch   4/4  loss .* hard .* sharpness inf", said)
    assert result.exact
    assert "worst class: '" in str(result)
    runs = [64 if why_not_run(target) is None else 0 for target in ("lce", "tflite")]
    assert [file.samples for file in result.files] == runs
    assert set(result.accuracy) == {"soft", "hard", "reestimated", "folded"}
    assert result.accuracy["reestimated"] > 0.5
    text = (folder / "result.json").read_text()
    assert "Infinity" not in text
    stored = json.loads(text)
    assert stored["accuracy"] == result.accuracy
    assert [one["name"] for one in stored["classes"]] == [str(digit) for digit in range(10)]
    rows = (folder / "history.csv").read_text().splitlines()
    assert len(rows) == 5
    assert {"val_accuracy", "val_hard_accuracy", "sharpness"} <= set(rows[0].split(","))
    model = keras.models.load_model(folder / "model.keras")
    assert keras_sbn.binarize(model).already_binary
    dataset = TrainSettings(**SMALL).load_data()
    x, y = dataset.arrays()
    accuracy = np.mean(model.predict(x, verbose=0).argmax(-1) == y)
    assert accuracy == pytest.approx(result.accuracy["reestimated"])


@pytest.mark.once
def test_report_is_one_page_that_needs_nothing_else(run):
    folder, result, _ = run
    page = (folder / "report.html").read_text(encoding="utf-8")
    tags = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag, attributes):
            tags.append((tag, dict(attributes)))

    Reader().feed(page)
    pictures = [attributes["src"] for tag, attributes in tags if tag == "img"]
    assert len(pictures) == 4  # history, weights, confusion, examples of mistakes
    assert all(source.startswith("data:image/png;base64,iVBOR") for source in pictures)
    assert not [tag for tag, attributes in tags if tag in ("script", "link") or "href" in attributes]
    for text in (
        f"{100 * result.accuracy['reestimated']:.2f} %",
        f"{result.files[0].bytes:,}",
        "none of 64",
        "LceBconv2d",
        "tiny_conv on digits",
        "train_samples",
        "accuracy as trained, at ν = ∞: signs already",
    ):
        assert text in page
    wrong = sum(one.images - one.correct for one in result.classes)
    assert wrong == round(64 * (1 - result.accuracy["folded"]))
    assert f"on 64 validation images, of which it takes {wrong} for another class" in page
    for one in result.classes:
        assert f"{100 * one.accuracy:.1f} %" in page
    for file in result.files:
        assert (file.median_ms is None) == (file.samples == 0)
        if file.median_ms:
            assert f"{file.median_ms:.3f} ms" in page
            assert file.runtime in page


@pytest.mark.once
def test_report_says_how_sharp_the_network_was_as_trained(run, tmp_path):
    folder, result, _ = run
    model, state = Checkpoints(folder / "checkpoints").load()
    assert state.history["sharpness"][-1] == math.inf
    state.history["sharpness"][-1] = 30.0
    settings = TrainSettings(**SMALL)
    data = settings.load_data()
    right = Mistakes.of(np.eye(10), np.arange(10), data.class_names)
    write_page(tmp_path / "soft.html", settings, data, model, state, result, {}, right)
    page = (tmp_path / "soft.html").read_text(encoding="utf-8")
    assert "at the last sharpness of the training, ν = 30: still tanh" in page
    assert "signs already" not in page
    assert "where the network is surest" not in page, "there is no mistake to show"


def test_killed_and_resumed_it_gives_what_it_gives_unbroken(run, tmp_path):
    _, expected, _ = run
    folder = tmp_path / "killed"
    process = start(folder, *ARGUMENTS)
    try:
        deadline = time.monotonic() + 240
        while not (folder / "checkpoints" / "epoch-00002.json").exists():
            assert process.poll() is None, process.stdout.read()
            assert time.monotonic() < deadline
            time.sleep(0.005)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert not (folder / "result.json").exists()
    done = max(int(path.stem[6:]) for path in (folder / "checkpoints").glob("epoch-*.json"))
    lines = []
    result = train(TrainSettings.read(folder / "run.toml"), folder, resume=True, print_fn=lines.append)
    assert f"resuming after epoch {done} of 4" in lines[1]
    for name, values in expected.history.items():
        if name != "seconds":
            np.testing.assert_allclose(result.history[name], values, rtol=1e-3, atol=1e-3, err_msg=name)
    assert result.accuracy == pytest.approx(expected.accuracy, abs=0.02)
    assert result.exact


@pytest.mark.once
def test_resumed_after_its_end_it_only_converts_again(run, tmp_path):
    folder, expected, _ = run
    before = (folder / "checkpoints" / "epoch-00004.keras").stat().st_mtime_ns
    result = train(
        TrainSettings.read(folder / "run.toml"), folder, resume=True, print_fn=lambda line: None
    )
    assert (folder / "checkpoints" / "epoch-00004.keras").stat().st_mtime_ns == before
    assert result.accuracy == pytest.approx(expected.accuracy)
    timeless = [[replace(file, median_ms=None) for file in r.files] for r in (result, expected)]
    assert timeless[0] == timeless[1]


@pytest.mark.once
def test_the_toml_of_a_run_reproduces_it(run, tmp_path, capsys):
    folder, expected, _ = run
    arguments = ["train", "--config", str(folder / "run.toml"), "--out", str(tmp_path), "--json"]
    assert cli.main(arguments) == 0
    found = json.loads(capsys.readouterr().out)
    np.testing.assert_allclose(found["history"]["loss"], expected.history["loss"], rtol=1e-3)
    sharpness = [value or math.inf for value in found["history"]["sharpness"]]
    assert sharpness == expected.history["sharpness"]
    assert (tmp_path / "run.toml").read_text() == (folder / "run.toml").read_text()


def test_the_best_epoch_is_kept_beside_the_last(run):
    folder, result, _ = run
    hard = result.history["val_hard_accuracy"]
    assert (folder / "checkpoints" / "epoch-00004.keras").exists()
    best = keras.models.load_model(folder / "checkpoints" / "best.keras", compile=False)
    keras_sbn.binarize(best)
    x, y = TrainSettings(**SMALL).load_data().arrays()
    accuracy = np.mean(best.predict(x, verbose=0).argmax(-1) == y)
    assert accuracy == pytest.approx(max(hard))


@pytest.mark.once
def test_overwriting_removes_the_run_and_nothing_else(run, tmp_path, capsys, monkeypatch):
    folder = tmp_path / "copy"
    shutil.copytree(run[0], folder)
    (folder / "notes.txt").write_text("mine")
    out = ["--out", str(folder), "--overwrite"]
    assert cli.main(["train", *out, "--dataset", str(tmp_path / "no.npz")]) == 2
    assert (folder / "result.json").exists(), "a mistake removes nothing"
    assert cli.main(["train", *out, "--resume"]) == 2
    assert "to resume a run or to overwrite it" in capsys.readouterr().err
    without(monkeypatch, "larq_compute_engine", "keras_sbn_kernels")
    assert cli.main(["train", *out, *ARGUMENTS, "--epochs", "1", "--targets", "lce"]) == 0
    assert (folder / "notes.txt").read_text() == "mine"
    assert [path.name for path in folder.glob("*.tflite")] == ["model_lce.tflite"]
    assert [path.name for path in (folder / "checkpoints").glob("epoch-*.json")] == ["epoch-00001.json"]
    # A file that nothing here runs is written, and said to be not compared.
    said = "".join(capsys.readouterr())
    assert "for lce will be written, and not compared with the model: keras-sbn-kernels is not" in said
    assert "and larq-compute-engine is not installed" in said
    assert "not run here, and so not compared" in said
    assert "not run here" in (folder / "report.html").read_text(encoding="utf-8")
    stored = json.loads((folder / "result.json").read_text())["files"]
    assert [file["samples"] for file in stored] == [0]


@pytest.mark.once
def test_the_models_of_a_run_know_their_images(run, tmp_path, capsys):
    folder, _, _ = run
    for name in ("model.keras", "folded.keras"):
        out = str(tmp_path / "again.tflite")
        assert cli.main(["convert", str(folder / name), "--target", "tflite", "--out", out]) == 0
        assert Path(out).read_bytes() == (folder / "model_tflite.tflite").read_bytes()
        said = capsys.readouterr().err
        assert ("--input-scaling 0.0625 0, of" in said) == (name == "model.keras")
        verify = ["verify", str(folder / name), str(folder / "model_tflite.tflite"), "--samples", "9"]
        assert cli.main([*verify, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["differing_outputs"] == 0
    best = str(folder / "checkpoints" / "best.keras")
    assert cli.main(["fold", best, "--binarize", "--out", str(tmp_path / "best.keras")]) == 0
    assert keras.models.load_model(tmp_path / "best.keras").inputs[0].dtype == "uint8"
    shutil.copy(folder / "run.toml", tmp_path)
    (tmp_path / "data.json").write_text("{}")
    shutil.copy(folder / "model.keras", tmp_path)
    assert cli.main(["fold", str(tmp_path / "model.keras"), "--out", str(tmp_path / "f.keras")]) == 2
    assert "data.json, which is damaged" in capsys.readouterr().err


@pytest.mark.once
def test_ctrl_c_ends_in_one_line_that_says_how_to_go_on(tmp_path):
    folder = tmp_path / "a run"
    process = start(folder, *ARGUMENTS, "--epochs", "500")
    try:
        deadline = time.monotonic() + 240
        while not (folder / "checkpoints" / "epoch-00001.json").exists():
            assert process.poll() is None, process.stdout.read()
            assert time.monotonic() < deadline
            time.sleep(0.005)
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 130
    assert re.search(r"\nkeras-sbn: stopped after epoch \d+; go on with: keras-sbn train --out '", said)
    assert said.strip().endswith("a run' --resume")
    assert "Traceback" not in said


@pytest.mark.once
def test_the_progress_within_an_epoch_is_one_line_that_is_overwritten(capsys, monkeypatch):
    moments = iter([0.0, 0.1, 1.0, 1.2, 2.0])
    monkeypatch.setattr(progress.time, "perf_counter", lambda: next(moments))
    show = progress.ShowProgress(epochs=3)
    show.set_params({"steps": 40})
    show.on_epoch_begin(1)
    for batch in range(4):
        show.on_train_batch_end(batch)
    show.on_epoch_end(1)
    first, second, cleared, end = capsys.readouterr().err.split("\r")[1:]
    assert first == "epoch   2/3  batch 2/40, 19 s left"
    assert second.rstrip() == "epoch   2/3  batch 4/40, 18 s left"
    assert cleared.strip() == end == ""


def test_a_folder_holds_one_run(run, tmp_path, capsys):
    folder, _, _ = run
    out = ["--out", str(folder)]
    assert cli.main(["train", *out, *ARGUMENTS]) == 2
    assert "Expected an empty folder for a new run" in capsys.readouterr().err
    assert cli.main(["train", *out, "--resume", "--epochs", "9"]) == 2
    assert "Received others for: epochs" in capsys.readouterr().err


def test_bad_input_exits_with_2(tmp_path, capsys):
    out = ["--out", str(tmp_path / "run")]
    for arguments, message in (
        (["--model", "vgg"], "Expected one of the models"),
        (["--model", "binarynt"], "Did you mean 'binarynet'?"),
        (["--schedule", "linaer"], "Did you mean 'linear'?"),
        (["--dataset", "cifra10"], "Did you mean 'cifar10'?"),
        (["--epochs", "0"], "Expected `epochs` to be a positive integer"),
        (["--config", str(tmp_path / "no.toml")], "no.toml"),
        (["--dataset", str(tmp_path / "no.npz")], "which does not exist"),
        (["--devices", "99", "--dataset", "digits"], "devices=99"),
        (["--resume"], "which has no run.toml"),
    ):
        assert cli.main(["train", *out, *arguments]) == 2
        assert message in capsys.readouterr().err
        # So that the corrected command finds an empty place.
        assert not (tmp_path / "run").exists()
    other = {"tensorflow": "jax", "jax": "torch", "torch": "tensorflow"}[keras.backend.backend()]
    assert cli.main(["train", *out, "--backend", other]) == 2
    assert f"set KERAS_BACKEND={other} before Keras is imported" in capsys.readouterr().err


def test_missing_packages_are_found_before_the_training(tmp_path, monkeypatch):
    without(monkeypatch, "matplotlib")
    with pytest.raises(ImportError, match=r"needs matplotlib: pip install 'keras-sbn\[plot\]'"):
        train(TrainSettings(**SMALL), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.tensorflow
def test_logs_for_tensorboard(tmp_path):
    pytest.importorskip("tensorboard")
    settings = TrainSettings(**{**SMALL, "epochs": 1, "tensorboard": True, "targets": ()})
    result = train(settings, tmp_path / "run", print_fn=lambda line: None)
    assert result.files == ()
    assert {"saturated_weights", "flip_ratio", "val_hard_accuracy"} <= set(result.history)
    runs = {path.parent.name for path in (tmp_path / "run" / "logs").glob("*/events.*")}
    assert runs == {"train", "validation", "binarization"}


DEVICES = """
import json, sys
PREPARE
from keras_sbn import cli
arguments = ["train", "--json", "--epochs", "2", "--validation-samples", "63", "--alpha", "0.25",
             "--no-tensorboard", "--targets"]
results = {}
for images in SAMPLES:
    for n in (1, 2):
        out = f"OUT/{images}-{n}"
        more = ["--train-samples", str(images), "--out", out, "--devices", str(n)]
        assert cli.main([*arguments, *more]) == 0
        results.setdefault(images, []).append(json.load(open(f"{out}/result.json")))
print(json.dumps(results))
"""
LOGICAL_CPUS = """
import tensorflow as tf
cpus = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpus[0], [tf.config.LogicalDeviceConfiguration()] * 2)
"""


def test_two_devices_train_like_one(tmp_path):
    backend = keras.backend.backend()
    if backend == "torch":
        pytest.skip("Keras does not distribute with PyTorch")
    code = DEVICES.replace("OUT", str(tmp_path))
    code = code.replace("SAMPLES", "(256, 64)" if backend == "jax" else "(256,)")
    code = code.replace("PREPARE", LOGICAL_CPUS if backend == "tensorflow" else "")
    flags = "--xla_force_host_platform_device_count=2"
    found = run_child(code, KERAS_BACKEND=backend, XLA_FLAGS=flags if backend == "jax" else "")
    one, two = found["256"]
    assert one["validation_images"] == 63
    if backend == "jax":
        assert two["accuracy"]["soft"] == pytest.approx(one["accuracy"]["soft"], abs=0.1)
        # One step an epoch, over the whole batch; MirroredStrategy normalizes each replica's share on its
        # own. After some steps signs that sums in another order turn put the losses 2 % apart.
        losses = [result["history"]["loss"] for result in found["64"]]
        np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)
    assert two["history"]["loss"][1] < two["history"]["loss"][0]
    if backend == "tensorflow" and keras.__version__.startswith("3.4."):
        # Its weighted metrics are wrong under tf.distribute: a sample of weight 0 counts.
        return
    # The batch that was filled up counts 63 images and not 64.
    for result in (one, two):
        assert (63 * result["accuracy"]["hard"]) % 1 == pytest.approx(0, abs=1e-3)
