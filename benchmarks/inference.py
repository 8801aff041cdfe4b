"""Latency of ours, Larq's and TensorFlow's files of the same network, side by side, beside the goals.

python benchmarks/inference.py

BinaryNet for CIFAR-10 and a residual network: Larq -> LCE, our files, and TensorFlow's float32 and
post-training int8 files of the same shapes; with random weights and, where train.py has run, with
trained ones of ours. One thread; LCE in its interpreter with both of its kernels, stock files with
XNNPACK. The files run in turns, so that whatever else the machine does meets all of them alike; it
disturbs CPU time least. In its place, with --kernels, the one-bit kernels beside all of these, on one
thread and on all cores (kernels.py); with --load, BinaryNet from many threads and processes (load.py).
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import networks
import numpy as np
from conversion import child

import keras_sbn
from keras_sbn.tables import format_table
from keras_sbn.tflite.interpreter import LceInterpreter, TfliteInterpreter


def tensorflow_files(model: Any, x: np.ndarray) -> tuple[bytes, bytes]:
    """TensorFlow's own float32 and post-training int8 files."""
    import tensorflow as tf

    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.redirect_stdout(io.StringIO()),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        model.export(folder, format="tf_saved_model")
        float32 = tf.lite.TFLiteConverter.from_saved_model(folder).convert()
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([x[i : i + 1]] for i in range(len(x)))
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        return bytes(float32), bytes(converter.convert())


GOALS = (
    ("ours lce, default kernel", "Larq -> LCE, default kernel", 0.85),
    ("ours lce, indirect kernel", "Larq -> LCE, indirect kernel", 0.85),
    ("ours lce, as predict runs it", "Larq -> LCE, default kernel", 0.2),
    ("ours lce, as predict runs it", "TensorFlow float32", 0.6),
    ("ours tflite", "TensorFlow int8", 1.1),
    ("ours tflite", "TensorFlow float32", 0.35),
    ("ours tflite, activations int8", "TensorFlow int8", 1.1),
    ("ours tflite, activations int8", "TensorFlow float32", 0.35),
)


def files(
    name: str, model: Any, larq: bytes, stock: tuple[bytes, bytes], x: np.ndarray
) -> dict[str, Any]:
    """An interpreter for each way to run the network."""
    lce, tflite = (keras_sbn.convert(model, target=target).content for target in ("lce", "tflite"))
    float32, int8 = stock
    found = {
        "Larq -> LCE, default kernel": LceInterpreter(larq, kernel="default", xnnpack=False),
        "Larq -> LCE, indirect kernel": LceInterpreter(larq, kernel="indirect", xnnpack=False),
        "ours lce, default kernel": LceInterpreter(lce, kernel="default", xnnpack=False),
        "ours lce, indirect kernel": LceInterpreter(lce, kernel="indirect", xnnpack=False),
        "ours lce, as predict runs it": LceInterpreter(lce, xnnpack=False),
        "ours tflite": TfliteInterpreter(tflite),
        "ours tflite, without XNNPACK": TfliteInterpreter(tflite, xnnpack=False),
        "TensorFlow float32": TfliteInterpreter(float32),
        "TensorFlow int8": TfliteInterpreter(int8),
    }
    if name != "BinaryNet":
        # BinaryNet has no layers that are real-valued but the first.
        quantized = keras_sbn.convert(
            model, target="tflite", activations="int8", representative_data=x
        ).content
        found["ours tflite, activations int8"] = TfliteInterpreter(quantized)
    return found


def measure(title: str, interpreters: dict[str, Any], x: np.ndarray, runs: int) -> None:
    """Prints the table and the ratios of one network."""
    times: dict[str, list[float]] = {name: [] for name in interpreters}
    processor: dict[str, list[float]] = {name: [] for name in interpreters}
    for run in range(3 + runs):
        for name, interpreter in interpreters.items():
            started = time.perf_counter(), time.process_time()
            interpreter.run([x[:1]])
            if run >= 3:
                times[name].append(1e3 * (time.perf_counter() - started[0]))
                processor[name].append(1e3 * (time.process_time() - started[1]))
    middle = {name: float(np.median(values)) for name, values in times.items()}
    busy = {name: float(np.median(values)) for name, values in processor.items()}
    rows = [
        (
            name,
            f"{middle[name]:.2f}",
            f"{np.quantile(values, 0.1):.2f} to {np.quantile(values, 0.9):.2f}",
            f"{busy[name]:.2f}",
        )
        for name, values in times.items()
    ]
    header = (f"{title}, one thread", "median ms", "10 % to 90 %", "CPU ms")
    print(format_table(header, rows, "lrrr"))
    for ours, theirs, goal in GOALS:
        if ours in middle:
            ratio, of_cpu = middle[ours] / middle[theirs], busy[ours] / busy[theirs]
            print(f"{ratio:.2f}, of CPU time {of_cpu:.2f} (goal: at most {goal}): {ours} / {theirs}")
    print(flush=True)


def main() -> None:
    """Prints a table and the ratios for each network, with random and with trained weights."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--kernels", action="store_true", help="one-bit kernels in stock LiteRT instead")
    parser.add_argument("--load", action="store_true", help="many threads and processes instead")
    parser.add_argument("--calls", type=int, default=4000, help="with --load: calls of each row")
    options = parser.parse_args()
    if options.kernels:
        import kernels

        kernels.measure_networks(options.runs)
        return
    if options.load:
        import load

        model = networks.NETWORKS["BinaryNet"][0]()
        load.table({t: keras_sbn.convert(model, t) for t in ("lce", "tflite")}, options.calls)
        return
    x = networks.images(32)
    for name, (build, build_float) in networks.NETWORKS.items():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "larq.tflite"
            child("larq_peer.py", name, str(path))
            larq = path.read_bytes()
        stock = tensorflow_files(build_float(), x)
        measure(f"{name}, random weights", files(name, build(), larq, stock, x), x, options.runs)
        try:
            model = networks.trained(name)
        except FileNotFoundError as error:
            print(f"{name}, trained weights: {error}\n")
        else:
            measure(f"{name}, trained weights", files(name, model, larq, stock, x), x, options.runs)


if __name__ == "__main__":
    main()
