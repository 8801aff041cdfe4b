"""The command line, with the real demo shortened to a few epochs."""

import importlib.util
import json
import sys

import pytest

from keras_sbn import cli, demo, inspect
from keras_sbn.tflite.interpreter import TFLITE_RUNTIMES


def test_demo_writes_its_files_and_shows_its_table(tmp_path, capsys):
    assert cli.main(["demo", "--out", str(tmp_path / "demo"), "--epochs", "2"]) == 0
    text = capsys.readouterr().out
    target = demo.best_target()
    operator = {"lce": "LceBconv2d", "tflite": "CONV_2D"}[target]
    for part in ("epoch   2/2", "as trained", f"target {target!r}", "run by ", operator):
        assert part in text
    files = {path.name: path.read_bytes() for path in (tmp_path / "demo").iterdir()}
    assert set(files) == {"digits.keras", "digits.tflite", "report.json", "training.png"}
    report = json.loads(files["report.json"])
    assert report["file_bytes"] == len(files["digits.tflite"])
    assert report["differing_from_hard"]["file"] == 0
    assert report["target"] == target
    runtimes = {"lce": ("LCE", "LiteRT, one-bit"), "tflite": ("LiteRT", "TensorFlow")}
    assert report["runtime"].startswith(runtimes[target])
    assert files["training.png"].startswith(b"\x89PNG")


def test_demo_prints_json_for_machines(tmp_path, capsys):
    assert cli.main(["demo", "--out", str(tmp_path), "--epochs", "1", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["test_images"] == 360
    assert set(figures["accuracy"]) == {"soft", "hard", "folded", "file"}


def test_demo_exits_with_1_if_a_single_prediction_differs(tmp_path, capsys, monkeypatch):
    result = demo.DemoResult(
        test_images=360,
        target="tflite",
        runtime="LiteRT",
        accuracy=dict.fromkeys(("soft", "hard", "folded", "file"), 0.97),
        differing_from_hard={"soft": 0, "hard": 0, "folded": 0, "file": 1},
        differing_logits=10,
        file_bytes=1,
        float32_bytes=2,
        seconds=1.0,
    )
    monkeypatch.setattr(demo, "run_demo", lambda *arguments: result)
    assert cli.main(["demo", "--out", str(tmp_path)]) == 1
    assert "differ from the hard model's" in capsys.readouterr().err


def test_without_the_larq_compute_engine_the_portable_file_is_checked(tmp_path, capsys, monkeypatch):
    find = importlib.util.find_spec
    missing = ("larq_compute_engine", "keras_sbn_kernels", "matplotlib")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in missing else find(name))
    for name in missing:
        monkeypatch.delitem(sys.modules, name, raising=False)
    assert demo.best_target() == "tflite"
    assert cli.main(["demo", "--out", str(tmp_path), "--epochs", "1"]) == 0
    text = capsys.readouterr().out
    assert "target 'tflite'" in text
    assert "no picture of the training, which needs matplotlib" in text
    assert not (tmp_path / "training.png").exists()
    assert inspect(tmp_path / "digits.tflite").binary_macs > 0
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for name in TFLITE_RUNTIMES:
        monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(ImportError, match="The demo needs a runtime for its file"):
        demo.best_target()


def test_bad_input_exits_with_2_and_says_what_was_wrong(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["demo", "--out", str(tmp_path), "--epochs", "0"])
    assert stop.value.code == 2
    assert "argument --epochs: expected a positive number, received 0" in capsys.readouterr().err
    occupied = tmp_path / "file"
    occupied.write_text("")
    assert cli.main(["demo", "--out", str(occupied / "demo"), "--epochs", "1"]) == 2
    assert capsys.readouterr().err == f"keras-sbn: Not a directory. Received: {occupied / 'demo'}\n"


def test_help_shows_an_example(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["demo", "--help"])
    assert stop.value.code == 0
    assert "example: keras-sbn demo" in capsys.readouterr().out
