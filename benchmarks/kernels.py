"""One-bit kernels in stock LiteRT beside LCE, XNNPACK int8 and float32: latency and mismatches.

python benchmarks/inference.py --kernels --runs 200
python benchmarks/kernels.py --networks 200

It needs keras-sbn-kernels (`pip install ./kernels`) beside larq-compute-engine. Every contender runs in
one process, in turns, on one thread and on all cores; the least of many runs is what the machine can do
where others use it too, and the ratios are of these. `--networks` compares all signs and outputs of
random networks with LCE's instead.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import networks
import numpy as np
from inference import tensorflow_files

import keras_sbn
from keras_sbn.tables import format_table
from keras_sbn.tflite.interpreter import LceInterpreter, TfliteInterpreter
from keras_sbn.tflite.kernels import KernelsInterpreter, instruction_sets

#: Goals: least times on one thread of the kernels with these instructions, to those of a contender.
GOALS = {
    "BinaryNet": (
        ("kernels avx512", "LCE, indirect", 0.12),
        ("kernels avx512", "XNNPACK int8", 0.25),
        ("kernels avx512", "XNNPACK float32", 0.07),
        ("kernels avx2", "LCE, indirect", 0.30),
        ("kernels avx2", "XNNPACK int8", 0.60),
    ),
    "residual": (
        ("kernels avx512", "LCE, indirect", 0.35),
        ("kernels avx512", "XNNPACK int8", 0.60),
        ("kernels avx512", "XNNPACK float32", 0.20),
    ),
}


def contenders(model: Any, float_model: Any, x: np.ndarray) -> dict[str, Any]:
    """An interpreter for each way to run the network, on one thread and on all cores."""
    lce = keras_sbn.convert(model, target="lce").content
    float32, int8 = tensorflow_files(float_model, x)
    usable = [name for name, has in instruction_sets().items() if has]
    cores = os.cpu_count() or 1
    on_all = {
        f"kernels {usable[0]}": KernelsInterpreter(lce, cores),
        "LCE, indirect": LceInterpreter(lce, cores, "indirect", xnnpack=True),
        "XNNPACK int8": KernelsInterpreter(int8, cores),
        "XNNPACK float32": KernelsInterpreter(float32, cores),
    }
    return {
        **{f"kernels {name}": KernelsInterpreter(lce, 1, name) for name in usable},
        "LCE, indirect": LceInterpreter(lce, kernel="indirect", xnnpack=True),
        "XNNPACK int8": KernelsInterpreter(int8),
        "XNNPACK int8, TensorFlow's": TfliteInterpreter(int8),
        "XNNPACK float32": KernelsInterpreter(float32),
        "XNNPACK float32, TensorFlow's": TfliteInterpreter(float32),
        **{f"{name}, {cores} threads": other for name, other in on_all.items() if cores > 1},
    }


def measure(title: str, interpreters: dict[str, Any], x: np.ndarray, runs: int) -> None:
    """Prints latencies, ratios, and where the time of the kernels goes."""
    times: dict[str, list[float]] = {name: [] for name in interpreters}
    inputs = [x[:1]]
    for run in range(3 + runs):
        for name, interpreter in interpreters.items():
            interpreter.run(inputs)  # what others left in the caches is not this network's
            started = time.perf_counter()
            interpreter.run(inputs)
            if run >= 3:
                times[name].append(1e3 * (time.perf_counter() - started))
    least = {name: min(values) for name, values in times.items()}
    rows = [(name, f"{least[name]:.3f}", f"{np.median(values):.3f}") for name, values in times.items()]
    print(format_table((title, "least ms", "median ms"), rows, "lrr"))
    for ours, theirs, goal in GOALS[title]:
        if ours in least:
            print(f"{least[ours] / least[theirs]:.3f} (goal: at most {goal}): {ours} / {theirs}")
    for name, interpreter in interpreters.items():
        if name.startswith("kernels") and not name.endswith("threads"):
            profile(title, name, interpreter, inputs, runs)


def profile(title: str, name: str, interpreter: Any, inputs: list[np.ndarray], runs: int) -> None:
    """Prints the microseconds of each one-bit node, and of the rest: the least of some runs each."""
    found = []
    for _ in range(runs):
        interpreter.profile()
        started = time.perf_counter()
        interpreter.run(inputs)
        total = time.perf_counter() - started
        seconds = [value for _, value in interpreter.profile()]
        found.append([*seconds, total - sum(seconds)])
    least = 1e6 * np.min(found, axis=0)
    texts = [*(text for text, _ in interpreter.profile()), "stock operators, LiteRT and Python"]
    rows = [
        (text, f"{value:.1f}", f"{100 * value / least.sum():.0f} %")
        for text, value in zip(texts, least, strict=True)
    ]
    print(format_table((f"{title}, {name}", "us", "share"), rows, "lrr"), flush=True)


#: Networks of `keras_sbn.models` at their usual sizes.
SHAPES = {
    "TinyConv": (32, 32, 3),
    "BinaryNet": (32, 32, 3),
    "ResNet20": (32, 32, 3),
    "QuickNetSmall": (224, 224, 3),
    "QuickNet": (224, 224, 3),
    "QuickNetLarge": (224, 224, 3),
    "BinaryAlexNet": (224, 224, 3),
    "BiRealResNet18": (224, 224, 3),
    "BiRealResNet34": (224, 224, 3),
}


def model_contenders(lce: bytes, int8: bytes) -> dict[str, tuple[Any, Any]]:
    """By name: an interpreter, and the clock that measures it.

    One thread is measured by the processor time of the process, which others on the machine lengthen
    little; all cores can be measured by the time on the wall alone.
    """
    cores = os.cpu_count() or 1
    cpu, wall = time.process_time, time.perf_counter
    found = {
        **{f"kernels {name}": (KernelsInterpreter(lce, 1, name), cpu) for name in simd_sets()},
        "LCE, indirect": (LceInterpreter(lce, kernel="indirect", xnnpack=True), cpu),
        "int8": (KernelsInterpreter(int8), cpu),
    }
    if cores > 1:
        found[f"kernels, {cores} threads"] = (KernelsInterpreter(lce, cores), wall)
        found[f"int8, {cores} threads"] = (KernelsInterpreter(int8, cores), wall)
    return found


def simd_sets() -> list[str]:
    """Instruction sets of this processor but for portable C."""
    return [name for name, has in instruction_sets().items() if has and name != "portable"]


def measure_models(names: list[str], runs: int) -> None:
    """Prints, for networks of the package, the kernels beside LCE and the portable int8 file in XNNPACK.

    Every contender runs once to warm up, and then in turns; a figure is the least of the runs.
    """
    rows = []
    for name in names:
        model = getattr(keras_sbn.models, name)(SHAPES[name])
        networks.randomize(model, 0)
        keras_sbn.binarize(model)
        lce, int8 = (keras_sbn.convert(model, target=target).content for target in ("lce", "tflite"))
        found = model_contenders(lce, int8)
        rng = np.random.default_rng(0)
        x = (rng.integers(0, 256, (1, *SHAPES[name])) / 128 - 1).astype(np.float32)
        least = dict.fromkeys(found, np.inf)
        for run in range(1 + runs):
            for contender, (interpreter, clock) in found.items():
                started = clock()
                interpreter.run([x])
                if run:
                    least[contender] = min(least[contender], 1e3 * (clock() - started))
        best = next(iter(least.values()))
        ratios = [f"{best / least['int8']:.2f}"]
        if len(found) > 2 + len(simd_sets()):
            *_, ours, theirs = least.values()
            ratios.append(f"{ours / theirs:.2f}")
        rows.append((name, *(f"{value:.2f}" for value in least.values()), *ratios))
        header = ("least ms", *least, "to int8", "to int8, all cores")[: len(rows[-1])]
        print(format_table(header, rows[-1:], "l" + "r" * (len(header) - 1)), flush=True)
    print(format_table(header, rows, "l" + "r" * (len(header) - 1)))


def compare_random(count: int) -> None:
    """Compares random networks of the tests, all signs among the outputs, with every instruction set."""
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis import strategies as st
    from random_networks import binary_network
    from tflite.test_kernels import with_signs

    usable = [name for name, has in instruction_sets().items() if has]
    tally: Counter = Counter()

    @settings(
        max_examples=10**6,
        deadline=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    @given(st.data())
    def compare_one(data: Any) -> None:
        if tally["networks"] >= count:
            raise KeyboardInterrupt
        model, x = binary_network(data.draw)
        try:
            content = keras_sbn.convert(model, target="lce").content
        except ValueError:
            tally["refused by the converter"] += 1
            return
        tally["networks"] += 1
        for file in (content, with_signs(content)):
            expected = LceInterpreter(file, kernel="indirect").predict([x], dequantize=False)
            for name in usable:
                received = KernelsInterpreter(file, 1, name).predict([x], dequantize=False)
                for a, b in zip(expected, received, strict=True):
                    kind = "words of signs" if a.dtype == np.int32 else "output values"
                    tally[f"{kind}, {name}"] += a.size
                    tally[f"{kind} unlike LCE's, {name}"] += int(np.count_nonzero(a != b))
                    if a.dtype == np.float32:
                        tally[f"outputs off by more than 1e-5, {name}"] += int(
                            np.count_nonzero(~np.isclose(a, b, rtol=1e-5, atol=1e-5))
                        )

    with contextlib.suppress(KeyboardInterrupt):
        compare_one()
    for name, value in sorted(tally.items()):
        print(f"{value:9d} {name}")


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--networks", type=int, default=0)
    parser.add_argument("--models", nargs="*", choices=SHAPES, help="networks of keras_sbn.models")
    options = parser.parse_args()
    if options.networks:
        compare_random(options.networks)
        return
    if options.models is not None:
        measure_models(options.models or list(SHAPES), options.runs)
        return
    measure_networks(options.runs)


def measure_networks(runs: int) -> None:
    """Prints the tables of BinaryNet and of the residual network."""
    x = networks.images(32)
    for name, (build, build_float) in networks.NETWORKS.items():
        measure(name, contenders(build(), build_float(), x), x, runs)


if __name__ == "__main__":
    main()
