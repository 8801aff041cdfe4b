"""The benchmark of the training step: its contenders are what they are called, its ratios as measured."""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import pytest
import training_step
from training_step import KNOWN, PARTS, PROFILE

import keras_sbn


@pytest.mark.once
@pytest.mark.parametrize("parts", [(), *((part,) for part in PARTS), tuple(PARTS)], ids="-".join)
def test_a_contender_of_the_profile_has_its_cheaper_parts_and_no_others(parts):
    network = training_step.build(f"ours:{'-'.join(parts)}", "small")
    convolutions = [
        layer for layer in network.layers if isinstance(layer, keras_sbn.layers.SelfBinarizingConv2D)
    ]
    assert [layer.pad_value for layer in convolutions[1:]] == [0.0 if "zeros" in parts else 1.0] * 3
    kernels = [layer for layer in network.layers if hasattr(layer, "normalize_kernel")]
    assert {layer.normalize_kernel for layer in kernels} == {"raw" not in parts}
    ours = {isinstance(layer, keras_sbn.layers.BinaryBatchNormalization) for layer in network.layers}
    assert (True in ours) == ("bn" not in parts)
    assert {layer.is_hard for layer in kernels} == {"hard" in parts}
    plain = training_step.build("keras", "small")
    assert network.output_shape == plain.output_shape
    weights = [weight for weight in network.trainable_weights if len(weight.shape) > 1]
    assert [w.shape for w in weights] == [w.shape for w in plain.trainable_weights if len(w.shape) > 1]


LARQ = """
import json
import training_step

padded = {}
for name in ("larq", "larq:ones"):
    layers = training_step.build(name, "small").layers
    padded[name] = [float(layer.pad_values) for layer in layers if hasattr(layer, "pad_values")]
print(json.dumps(padded))
"""


@pytest.mark.once
@pytest.mark.skipif("larq" not in training_step.available(), reason="needs larq and tf-keras")
def test_larqs_contenders_pad_with_what_they_are_called():
    folder = str(Path(training_step.__file__).parent)
    environment = {**os.environ, "TF_USE_LEGACY_KERAS": "1", "PYTHONPATH": folder}
    command = [sys.executable, "-c", LARQ]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-3000:]
    padded = json.loads(ended.stdout.splitlines()[-1])
    assert padded["larq"] == [0.0] * 4
    # The first convolution pads nothing.
    assert padded["larq:ones"] == [0.0, 1.0, 1.0, 1.0]


def test_every_contender_has_a_title_and_a_backend():
    for name in PROFILE:
        title, backend = KNOWN[name]
        assert backend == ("jax" if name.endswith("-jax") else "tensorflow")
        assert title.startswith("Larq" if name.startswith("larq") else "ours")
    assert len({KNOWN[name] for name in KNOWN}) == len(KNOWN)


def test_ratios_are_those_of_turns_that_follow_one_another():
    def found(steps):
        return {"steps": steps, "cpu": steps, "hooks": [0.0] * 3, "memory": 300.0, "imported": 100.0}

    measured = {
        "keras": found([0.1, 0.2, 0.4]),
        "larq": found([0.2, 0.2, 0.2]),
        "ours": found([0.2, 0.2, 0.6]),
    }
    rows = {row["contender"]: row for row in training_step.report(measured)}
    assert rows["ours"]["x keras"] == pytest.approx(1.5)
    assert rows["ours"]["x larq"] == pytest.approx(1.0)
    assert rows["ours"]["step (ms)"] == pytest.approx(200.0)
    assert rows["ours"]["memory x keras"] == 1.0
    assert "| tensorflow | ours | 200.0 | 1.50 | 1.00 |" in training_step.show(list(rows.values()))


@pytest.mark.once
def test_contenders_take_turns_in_their_own_processes(tmp_path):
    suffix = "-jax" if keras.backend.backend() == "jax" else ""
    written = tmp_path / "figures" / "step.json"
    # A process of its own: the peak memory of a process is at least that of the one which started it.
    command = [sys.executable, training_step.__file__, "--models", "small", "--batch", "2"]
    command += ["--rounds", "2", "--steps", "1", "--json", str(written)]
    command += ["--contenders", f"ours{suffix}", f"ours:zeros{suffix}"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-3000:]
    rows = json.loads(written.read_text())["small"]
    assert [row["contender"] for row in rows] == ["ours", "ours, padded with zeros"]
    assert all(row["step (ms)"] > 0 and row["CPU (ms)"] > 0 for row in rows)
    assert all(row["memory (MiB)"] > row["above import (MiB)"] > 0 for row in rows)
    assert "small, batch 2, median of 2 turns of 1 steps" in ended.stdout
