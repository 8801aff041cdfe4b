"""Mismatches between the files and the hard Keras models: none is the goal.

python benchmarks/mismatches.py --data-dir cifar10/test --images 10000 --networks 500

BinaryNet for CIFAR-10 and a residual network, with random weights and, where train.py has run, trained
ones, on images of a folder (`folder/class/image`) or random ones; and the random small networks of the
tests of the fold: every layer, option, tie and zero. Where the hard model in float32 and a file decide
otherwise, the network in float64 says which of them is right, and Keras compiled by XLA how often Keras
differs from itself.

With --kernels the same networks, and a residual one of binary convolutions alone, run in
keras-sbn-kernels instead, with every instruction set that the processor has, and every sign and output is
compared with the folded Keras model's.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import keras
import networks
import numpy as np
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from kernels_mismatches import compare_kernels, compare_random_kernels
from random_networks import binary_network
from reference import evaluate

import keras_sbn
from keras_sbn.binarize import decisions

TARGETS = ("lce", "tflite")
#: By name; of the last, no value depends on the order in which a runtime adds.
LARGE = {name: build for name, (build, _) in networks.NETWORKS.items()} | {
    "binary-residual": networks.binary_residual_net
}


def compare(title: str, model: Any, x: np.ndarray) -> None:
    """Prints how many decisions and outputs of each file differ from the hard model's.

    Keras takes longer than either file, so it runs once for both.
    """
    started = time.perf_counter()
    expected = model.predict(x, batch_size=50, verbose=0)
    print(f"{title}, Keras: {time.perf_counter() - started:.0f} s", flush=True)
    disagree = False
    for target in TARGETS:
        started = time.perf_counter()
        converted = keras_sbn.convert(model, target=target)
        received = converted.predict(x)
        wrong = (decisions(received) != decisions(expected)).reshape(len(x), -1).any(axis=-1)
        values = int(np.count_nonzero(received != expected))
        print(
            f"{title}, {target} ({time.perf_counter() - started:.0f} s): {len(x)} samples, {wrong.sum()} "
            f"decisions differ (goal: 0); {values} of {expected.size} output values differ, by at most "
            f"{np.abs(received - expected).max():.3g}",
            flush=True,
        )
        if wrong.any():
            print(f"  of these: {keras_sbn.verify(converted, model, x[wrong])}")
            exact = decisions(evaluate(model, [x[wrong]])[1][0])
            for who, found in (("the file", received), ("Keras", expected)):
                right = (decisions(found[wrong]) == exact).reshape(len(exact), -1).all(axis=-1)
                print(f"  in float64, {who} is right on {right.sum()} of {len(exact)}", flush=True)
            disagree = True
    if disagree:
        # Layers of real numbers are rounded, and whatever rounds them otherwise turns a sign near 0.
        model.compile(jit_compile=True)
        again = decisions(model.predict(x, batch_size=50, verbose=0))
        wrong = (again != decisions(expected)).reshape(len(x), -1).any(axis=-1)
        print(f"{title}, Keras compiled by XLA: {wrong.sum()} decisions differ from Keras's own")


def draw_networks(missing: Callable[[], int], first_seed: int, use: Callable[[Any, Any], None]) -> None:
    """Calls `use(model, x)` for random networks, while `missing()` are missing."""

    def use_one(data: Any) -> None:
        use(*binary_network(data.draw, max_blocks=3))
        keras.utils.clear_session()

    number = first_seed
    while (count := missing()) > 0:
        options = settings(
            max_examples=count,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        seed(number)(options(given(st.data())(use_one)))()
        number += 1


def compare_random(count: int, first_seed: int) -> None:
    """Compares random networks until each target has taken `count`, and prints what it found."""
    tally: dict[str, Counter] = {target: Counter() for target in TARGETS}
    reasons: Counter = Counter()

    def compare_one(model: Any, x: np.ndarray) -> None:
        expected = decisions(keras.ops.convert_to_numpy(model(x)))
        for target, found in tally.items():
            try:
                converted = keras_sbn.convert(model, target=target)
            except ValueError as error:
                found["refused"] += 1
                reasons[str(error).split(". Received")[0][:90]] += 1
                continue
            found["networks"] += 1
            found["samples"] += len(x)
            received = decisions(converted.predict(x))
            wrong = (received != expected).reshape(len(x), -1).any(axis=-1)
            if wrong.any():
                exact = decisions(evaluate(model, [x])[1][0])
                found["networks that differ"] += 1
                found["samples that differ"] += int(wrong.sum())
                right = (received == exact).reshape(len(x), -1).all(axis=-1)
                found["of them the file is right in float64"] += int((wrong & right).sum())

    draw_networks(
        lambda: count - min(found["networks"] for found in tally.values()), first_seed, compare_one
    )
    for target, found in tally.items():
        figures = ", ".join(
            f"{name}: {found[name]}"
            for name in (
                "networks",
                "refused",
                "samples",
                "networks that differ",
                "samples that differ",
                "of them the file is right in float64",
            )
        )
        print(f"random networks, {target} (goal: 0 differ): {figures}")
    for reason, times in reasons.most_common():
        print(f"  refused {times} times: {reason}")


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", type=Path, help="folder with a folder of images a class")
    parser.add_argument("--only", choices=LARGE, help="one of the large networks")
    parser.add_argument("--images", type=int, default=1000, help="images of each large network")
    parser.add_argument("--networks", type=int, default=100, help="random small networks")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random networks")
    parser.add_argument("--kernels", action="store_true", help="every sign, with each instruction set")
    options = parser.parse_args()
    x = networks.images(options.images, options.data_dir) if options.images else None
    for name, build in LARGE.items():
        if x is None or options.only not in (None, name):
            continue
        use = compare_kernels if options.kernels else compare
        use(f"{name}, random weights", build(), x)
        if name not in networks.NETWORKS:
            continue
        try:
            use(f"{name}, trained weights", networks.trained(name), x)
        except FileNotFoundError as error:
            print(f"{name}, trained weights: {error}")
    if options.networks and options.kernels:
        compare_random_kernels(options.networks, options.seed, draw_networks)
    elif options.networks:
        compare_random(options.networks, options.seed)


if __name__ == "__main__":
    main()
