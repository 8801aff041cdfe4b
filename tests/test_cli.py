"""The command line, with the real demo shortened to a few epochs."""

import json

import pytest

from keras_sbn import cli, demo

pytestmark = pytest.mark.tensorflow


def test_demo_writes_its_files_and_shows_its_table(tmp_path, capsys):
    assert cli.main(["demo", "--out", str(tmp_path / "demo"), "--epochs", "2"]) == 0
    text = capsys.readouterr().out
    for part in ("epoch   2/2", "as trained", "LCE file", "float32 TFLite", "LceBconv2d"):
        assert part in text
    files = {path.name: path.read_bytes() for path in (tmp_path / "demo").iterdir()}
    assert set(files) == {"digits.keras", "digits.tflite", "report.json", "training.png"}
    report = json.loads(files["report.json"])
    assert report["file_bytes"] == len(files["digits.tflite"])
    assert report["differing_from_hard"]["lce"] == 0
    assert files["training.png"].startswith(b"\x89PNG")


def test_demo_prints_json_for_machines(tmp_path, capsys):
    assert cli.main(["demo", "--out", str(tmp_path), "--epochs", "1", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["test_images"] == 360
    assert set(figures["accuracy"]) == {"soft", "hard", "folded", "lce"}


def test_demo_exits_with_1_if_a_single_prediction_differs(tmp_path, capsys, monkeypatch):
    result = demo.DemoResult(
        test_images=360,
        accuracy=dict.fromkeys(("soft", "hard", "folded", "lce"), 0.97),
        differing_from_hard={"soft": 0, "hard": 0, "folded": 0, "lce": 1},
        differing_logits=10,
        file_bytes=1,
        float32_bytes=2,
        seconds=1.0,
    )
    monkeypatch.setattr(demo, "run_demo", lambda *arguments: result)
    assert cli.main(["demo", "--out", str(tmp_path)]) == 1
    assert "differ from the hard model's" in capsys.readouterr().err


def test_bad_input_exits_with_2_and_says_what_was_wrong(tmp_path, capsys):
    assert cli.main(["demo", "--out", str(tmp_path), "--epochs", "0"]) == 2
    assert "Expected `epochs` to be positive. Received: epochs=0" in capsys.readouterr().err
    occupied = tmp_path / "file"
    occupied.write_text("")
    assert cli.main(["demo", "--out", str(occupied / "demo"), "--epochs", "1"]) == 2
    assert "keras-sbn: " in capsys.readouterr().err


def test_help_shows_an_example(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["demo", "--help"])
    assert stop.value.code == 0
    assert "example: keras-sbn demo" in capsys.readouterr().out


def test_an_unknown_command_exits_with_2(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["fry"])
    assert stop.value.code == 2
    assert "invalid choice" in capsys.readouterr().err
