"""File size, conversion time, peak memory and mismatches, ours and Larq's, in one run.

python benchmarks/conversion.py --images 200 --networks 20

BinaryNet for CIFAR-10 goes through Larq and LCE's converter, and through ours for both targets, each in a
process of its own, several times. Then the files of BinaryNet, of a residual network, and of random small
networks are compared with the hard Keras model. The issue's own figures need --images 10000
--networks 500, which takes about an hour.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import keras
import networks
import numpy as np

import keras_sbn
from keras_sbn import layers
from keras_sbn.tables import format_table

HERE = Path(__file__).parent


def child(script: str, *arguments: str) -> dict[str, Any]:
    """Runs a script of this folder and returns the JSON it prints last."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    environment["PYTHONPATH"] = os.pathsep.join([str(HERE.parent), environment.get("PYTHONPATH", "")])
    command = [sys.executable, str(HERE / script), *arguments]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return json.loads(run.stdout.strip().splitlines()[-1])


def median(runs: list[dict[str, Any]], name: str) -> float:
    """The median of one figure over several runs."""
    return statistics.median(run[name] for run in runs)


def cost(repeats: int, model: Any, folder: Path) -> None:
    """Prints size, time and memory of the three conversions."""
    model.save(folder / "binary_net.keras")
    source = str(folder / "binary_net.keras")
    runs: dict[str, list[dict[str, Any]]] = {"Larq -> LCE": [], "lce": [], "tflite": []}
    for _ in range(repeats):
        runs["Larq -> LCE"].append(child("larq_peer.py", str(folder / "larq.tflite")))
        for target in ("lce", "tflite"):
            path = str(folder / f"{target}.tflite")
            runs[target].append(child("our_conversion.py", target, source, path))
    peer = runs["Larq -> LCE"]
    rows = [
        (
            name,
            f"{found[0]['file_bytes']:,}",
            f"{8 * found[0]['file_bytes'] / networks.WEIGHTS:.2f}",
            f"{median(found, 'seconds'):.2f}",
            f"{median(found, 'seconds') / median(peer, 'seconds'):.2f}",
            f"{median(found, 'peak_bytes') / 2**20:.0f}",
            f"{median(found, 'peak_bytes') / median(peer, 'peak_bytes'):.2f}",
        )
        for name, found in runs.items()
    ]
    header = ("conversion", "bytes", "bits a weight", "seconds", "of peer", "peak MiB", "of peer")
    print(format_table(header, rows, "lrrrrrr"))
    print(f"one bit a weight: {-(-networks.WEIGHTS // 8):,} bytes; medians of {repeats} runs")


def mismatches(name: str, model: Any, x: np.ndarray) -> None:
    """Prints how many decisions and outputs of each file differ from the hard model's."""
    for target in ("lce", "tflite"):
        found = keras_sbn.verify(keras_sbn.convert(model, target=target), model, x, batch_size=50)
        print(f"{name}, {target}: {found}", flush=True)


def random_network(seed: int) -> tuple[Any, np.ndarray]:
    """A small network of random shapes, all its values exact in float32, and inputs for it."""
    rng = np.random.default_rng(seed)
    shape = (int(rng.integers(3, 9)), int(rng.integers(3, 9)), int(rng.choice([1, 3, 32])))
    inputs = x = keras.Input(shape)
    for _ in range(rng.integers(1, 4)):
        window = min(int(rng.integers(1, 4)), *x.shape[1:3])
        x = layers.SelfBinarizingConv2D(
            int(rng.choice([1, 5, 32, 40])),
            window,
            strides=int(rng.integers(1, 3)),
            padding=str(rng.choice(["same", "valid"])),
            pad_value=float(rng.choice([1.0, 0.0])),
            binarize_input=True,
        )(x)
        if rng.random() < 0.4 and min(x.shape[1:3]) > 1:
            x = keras.layers.MaxPooling2D()(x)
        x = keras.layers.BatchNormalization()(x)
    x = layers.SelfBinarizingDense(4, binarize_input=True)(keras.layers.Flatten()(x))
    model = keras.Model(inputs, x)
    for weight in model.weights:
        if weight.name == "moving_variance":
            weight.assign(rng.uniform(0.5, 30, weight.shape))
        elif not weight.name.endswith("_sharpness"):
            weight.assign(rng.normal(size=weight.shape))
    keras_sbn.binarize(model)
    return model, rng.integers(-16, 17, (20, *shape)).astype("float32") / 8


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3, help="conversions of each kind")
    parser.add_argument("--images", type=int, default=1000, help="images of each large network")
    parser.add_argument("--networks", type=int, default=100, help="random small networks")
    options = parser.parse_args()
    model = networks.binary_net()
    with tempfile.TemporaryDirectory() as folder:
        cost(options.repeats, model, Path(folder))
    mismatches("BinaryNet", model, networks.images(options.images))
    residual, shape = networks.residual_net(), (56, 56, 3)
    mismatches("residual", residual, networks.images(options.images, shape))
    differing = {"lce": 0, "tflite": 0}
    for seed in range(options.networks):
        small, x = random_network(seed)
        for target in differing:
            converted = keras_sbn.convert(small, target=target)
            differing[target] += keras_sbn.verify(converted, small, x).differing_outputs
    print(f"{options.networks} random networks, output values that differ: {differing}")


if __name__ == "__main__":
    main()
