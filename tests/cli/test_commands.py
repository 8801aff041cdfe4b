"""fold, convert, inspect, verify and benchmark, from files to files."""

import json
import os
import re
import subprocess
import sys

import keras
import numpy as np
import pytest
from conftest import digit_network, images, needs_new_litert, randomize
from small_models import ROOT

import keras_sbn
from keras_sbn import cli
from keras_sbn.extras import why_no_kernels, why_no_lce

COMMANDS = ("demo", "train", "fold", "convert", "inspect", "verify", "benchmark", "deploy")


@pytest.fixture
def folder(tmp_path, monkeypatch, rng):
    """A folder with a soft and a hard model, which is the working directory."""
    monkeypatch.chdir(tmp_path)
    model = digit_network()
    randomize(model, rng)
    model.save("soft.keras")
    keras_sbn.binarize(model)
    model.save("hard.keras")
    return tmp_path


@pytest.mark.lce
def test_the_whole_path(folder, capsys):
    assert cli.main(["fold", "hard.keras", "--out", "folded.keras"]) == 0
    assert "Threshold" in capsys.readouterr().out
    for target in ("lce", "tflite"):
        arguments = ["--target", target, "--out", f"{target}.tflite", "--report", f"{target}.json"]
        assert cli.main(["convert", "folded.keras", *arguments]) == 0
        out = capsys.readouterr().out
        assert f"written to {target}.tflite" in out
        report = json.loads((folder / f"{target}.json").read_text())
        assert report["file_bytes"] == (folder / f"{target}.tflite").stat().st_size
        assert cli.main(["verify", "hard.keras", f"{target}.tflite", "--samples", "40"]) == 0
        assert "40 samples: 0 decisions differ" in capsys.readouterr().out
    assert cli.main(["inspect", "lce.tflite"]) == 0
    assert "LceBconv2d" in capsys.readouterr().out
    assert cli.main(["benchmark", "lce.tflite", "tflite.tflite", "--runs", "3"]) == 0
    assert "times the fastest" in capsys.readouterr().out


def test_c_code(folder, capsys):
    assert cli.main(["convert", "hard.keras", "--target", "c"]) == 0
    assert "written to model.c" in capsys.readouterr().out
    assert "void model_run(" in (folder / "model.h").read_text()
    assert cli.main(["convert", "hard.keras", "--target", "c", "--out", "out.tflite"]) == 2
    assert "Expected the path of a C source" in capsys.readouterr().err
    assert not (folder / "out.tflite").exists()
    assert cli.main(["inspect", "model.c"]) == 2
    assert cli.main(["verify", "hard.keras", "model.c"]) == 2
    assert "a form that is written and not read" in capsys.readouterr().err


def test_the_runtime_of_the_command_line_is_the_one_that_runs(folder, capsys):
    for target in ("lce", "tflite"):
        assert cli.main(["convert", "hard.keras", "--target", target, "--out", f"{target}.tflite"]) == 0
    capsys.readouterr()
    runs = [("tflite", "litert", ("LiteRT, XNNPACK", "TensorFlow Lite, XNNPACK"))]
    runs += [("lce", "lce", ("LCE, ",))] if why_no_lce() is None else []
    runs += [("lce", "kernels", ("LiteRT, one-bit kernels, ",))] if why_no_kernels() is None else []
    for target, runtime, names in runs:
        file, chosen = f"{target}.tflite", ["--runtime", runtime, "--json"]
        assert cli.main(["verify", "hard.keras", file, "--samples", "8", *chosen]) == 0
        assert json.loads(capsys.readouterr().out)["runtime"].startswith(names)
        assert cli.main(["benchmark", file, "--runs", "2", "--threads", "2", *chosen]) == 0
        (latency,) = json.loads(capsys.readouterr().out)
        assert latency["runtime"].startswith(names)
        assert latency["num_threads"] == 2
    assert cli.main(["benchmark", "lce.tflite", "--runtime", "litert"]) == 2
    assert "lce.tflite: Expected runtime 'kernels' or 'lce'" in capsys.readouterr().err
    assert cli.main(["benchmark", "lce.tflite", "--runtime", "lce", "--adb"]) == 2
    assert "Expected no --runtime with --adb" in capsys.readouterr().err


def test_int8_activations_and_inputs(folder, capsys, rng):
    np.save("images.npy", images(rng, (7, 6, 2)))
    options = ["--activations", "int8", "--representative-data", "images.npy"]
    types = ["--input-type", "uint8", "--output-type", "int8", "--target", "tflite"]
    assert cli.main(["convert", "hard.keras", *options, *types]) == 0
    assert re.search(r"input  image: uint8 \(1, 7, 6, 2\), scale 0\.125", capsys.readouterr().out)
    assert cli.main(["inspect", "model.tflite"]) == 0
    assert re.search(r"output .*: int8 \(1, 3\), scale 0\.", capsys.readouterr().out)
    verify = ["verify", "hard.keras", "model.tflite", "--data", "images.npy"]
    assert cli.main([*verify, "--required-agreement", "0.8"]) == 0
    assert "80 % required" in capsys.readouterr().out
    assert cli.main(["convert", "hard.keras", *options, *types[4:]]) == 0
    assert re.search(r"\nconv_1 +int8\b", capsys.readouterr().out)
    assert cli.main(["convert", "hard.keras", *options, *types[4:], "--float-layers", "conv_1"]) == 0
    assert re.search(r"\nconv_1 +float\b", capsys.readouterr().out)
    assert cli.main(["convert", "hard.keras", *options, "--float-layers", "logit"]) == 2
    assert "Received: 'logit'. Did you mean 'logits'?" in capsys.readouterr().err
    assert cli.main(["convert", "hard.keras", *options[:2]]) == 2
    assert "Expected `representative_data`" in capsys.readouterr().err
    (folder / "no.npy").write_bytes(b"no array")
    assert cli.main(["convert", "hard.keras", "--representative-data", "no.npy"]) == 2
    assert "Expected an .npy or .npz file" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        cli.main([*verify, "--required-agreement", "2"])


@pytest.mark.lce
def test_models_trained_on_rescaled_images(folder, capsys, rng):
    scaling = ["--input-scaling", "1/255", "0"]
    assert cli.main(["fold", "hard.keras", *scaling, "--out", "folded.keras"]) == 0
    assert keras.models.load_model("folded.keras").inputs[0].dtype == "uint8"
    assert cli.main(["convert", "hard.keras", *scaling]) == 0
    assert "input  image: uint8" in capsys.readouterr().out
    assert cli.main(["verify", "folded.keras", "model.tflite", "--samples", "20"]) == 0
    with pytest.raises(SystemExit):
        cli.main(["fold", "hard.keras", "--input-scaling", "1/0", "0"])
    assert cli.main(["fold", "hard.keras", "--quantize-first-layer"]) == 2
    assert "Expected a first keras.layers.Conv2D" in capsys.readouterr().err


@pytest.mark.lce
def test_json_for_machines(folder, capsys):
    def run(*arguments):
        assert cli.main([*arguments, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    assert {"name": "conv_2", "class": "BinaryConv2D"} in run("fold", "hard.keras")["layers"]
    assert run("convert", "hard.keras")["totals"]["weights"] > 0
    assert run("inspect", "model.tflite")["layers"][0]["operators"] == ["PADV2"]
    assert run("verify", "hard.keras", "model.tflite", "--samples", "4")["differing_decisions"] == 0
    assert run("benchmark", "model.tflite", "--runs", "2")[0]["runs"] == 2


@pytest.mark.lce
def test_binarize_takes_the_signs_of_a_soft_model(folder, capsys):
    assert cli.main(["convert", "soft.keras"]) == 2
    assert "Expected a binary network" in capsys.readouterr().err
    assert not os.path.exists("model.tflite")
    assert cli.main(["convert", "soft.keras", "--binarize"]) == 0
    assert cli.main(["verify", "soft.keras", "model.tflite", "--binarize", "--samples", "8"]) == 0


@pytest.mark.lce
def test_verify_exits_with_1_if_a_decision_differs_and_reads_data(folder, capsys, rng):
    x = images(rng, (7, 6, 2), 32)
    np.save("x.npy", x)
    np.savez("x.npz", image=x)
    keras_sbn.convert(keras.models.load_model("hard.keras")).save("model.tflite")
    for data in ("x.npy", "x.npz"):
        assert cli.main(["verify", "hard.keras", "model.tflite", "--data", data]) == 0
    assert "32 samples" in capsys.readouterr().out
    assert cli.main(["verify", "soft.keras", "model.tflite", "--data", "x.npy", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["first_difference"]["sample"] >= 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fold", "missing.keras"], r"Expected a \.keras file of a model\. Received: missing\.keras"),
        (["fold", "hard.keras", "--out", "folded.h5"], r"Expected --out to end in \.keras"),
        (["convert", "broken.keras"], "Expected a .keras file of a model"),
        (["convert", "hard.keras", "--out", "no/folder/m.tflite"], "Expected a folder"),
        (["inspect", "hard.keras"], "Expected a TFLite model"),
        (
            ["inspect", "missing.tflite"],
            r"^keras-sbn: No such file or directory\. Received: missing\.tflite$",
        ),
        (["fold", "."], "Received: ., which is a folder"),
        (["convert", "hard.keras", "--labels", "no.txt"], "No such file or directory. Received: no.txt"),
        (["verify", "hard.keras", "hard.keras"], "Expected a TFLite model"),
        (["benchmark", "missing.tflite"], "No such file"),
    ],
)
def test_bad_input_exits_with_2_says_why_and_writes_nothing(arguments, message, folder, capsys):
    (folder / "broken.keras").write_bytes((folder / "hard.keras").read_bytes()[:3000])
    before = sorted(os.listdir())
    assert cli.main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("keras-sbn: ")
    assert re.search(message, captured.err)
    assert sorted(os.listdir()) == before


def test_these_are_all_commands(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["--help"])
    assert stop.value.code == 0
    assert tuple(re.findall(r"^    (\w+)(?: |$)", capsys.readouterr().out, re.MULTILINE)) == COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_an_example(command, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main([command, "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert f"example: keras-sbn {command} " in text
    assert "--json" in text


@pytest.mark.parametrize(
    ("arguments", "command", "message"),
    [
        (["trian"], "", "invalid choice: 'trian' .*Did you mean 'train'"),
        (["fry"], "", r"invalid choice: 'fry' \(choose from demo, .*\)\.$"),
        (["--versoin"], "", "."),
        (
            ["train", "--modle", "quicknet"],
            "train",
            "--modle quicknet. Did you mean '--model'",
        ),
        (["train", "--epoch=3"], "train", "Did you mean '--epochs'"),
        (["convert", "m.keras", "--target", "lec"], "convert", "Did you mean 'lce'"),
        (
            ["convert", "m.keras", "--out", "."],
            "convert",
            "expected the name of a file, received ., a",
        ),
        (["inspect", "."], "inspect", "file: expected a file, received ., a folder"),
        (["inspect", "a.tflite", "b.tflite"], "inspect", "unrecognized arguments: b.tflite"),
        (["verify", "a"], "verify", "required: file"),
        *(([command, "--zzz"], command, "(unrecognized|required)") for command in COMMANDS),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_shows_that_of_the_subcommand_and_what_may_be_meant(
    arguments, command, message, capsys
):
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith(f"usage: keras-sbn {command}".rstrip() + " ")
    assert re.search(message, said.splitlines()[-1])


def test_files_of_8_bit_images_are_compared_by_the_scaling_that_is_given(folder, capsys):
    scaling = ["--input-scaling", "1/255", "0"]
    assert cli.main(["convert", "hard.keras", *scaling, "--target", "tflite"]) == 0
    verify = ["verify", "hard.keras", "model.tflite", "--samples", "20"]
    assert cli.main([*verify, *scaling]) == 0
    assert cli.main(verify) == 2
    assert "--input-scaling" in capsys.readouterr().err


def test_an_error_that_nobody_expected_exits_with_2_and_is_no_failed_check(monkeypatch, capsys):
    def fail(file):
        raise KeyError("weights")

    monkeypatch.setattr("keras_sbn.conversion.inspection.inspect", fail)
    assert cli.main(["inspect", "model.tflite"]) == 2
    said = capsys.readouterr().err
    assert "KeyError: 'weights'" in said
    assert "please report it" in said


def test_a_reader_that_has_seen_enough_is_no_error(folder):
    keras_sbn.convert(keras.models.load_model("hard.keras"), "tflite").save("model.tflite")
    command = f'"{sys.executable}" -m keras_sbn inspect model.tflite; echo "exit code $?" >&2'
    done = subprocess.run(
        ["bash", "-c", f"({command}) | true"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert "exit code 0" in done.stderr
    assert "roken" not in done.stderr


def test_a_number_of_samples_that_is_not_positive(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["verify", "a", "b", "--samples", "0"])
    assert stop.value.code == 2
    assert "expected a positive number" in capsys.readouterr().err


@needs_new_litert
def test_where_a_file_runs(folder, capsys, rng):
    np.save("images.npy", images(rng, (7, 6, 2)))
    options = ["--target", "micro", "--representative-data", "images.npy", "--weight-bits", "4"]
    assert cli.main(["convert", "hard.keras", *options]) == 0
    assert "int16" in capsys.readouterr().out
    assert cli.main(["inspect", "model.tflite"]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"^TensorFlow Lite Micro +yes", shown, re.MULTILINE)
    assert re.search(r"^Arm Ethos-U55.* no +.*int8\*int4 runs on the CPU", shown, re.MULTILINE)
    assert cli.main(["inspect", "model.tflite", "--json"]) == 0
    places = json.loads(capsys.readouterr().out)["places"]
    assert {place["place"]: place["runs"] for place in places}["LiteRT"] is True
    assert cli.main(["convert", "hard.keras", "--target", "lce", "--weight-bits", "2"]) == 2
    assert "weight_bits=2" in capsys.readouterr().err
