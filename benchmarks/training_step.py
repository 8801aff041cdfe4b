"""A training step side by side: plain Keras layers with tanh, Larq's ste_sign, and this package.

    python benchmarks/training_step.py                     # BinaryNet for CIFAR-10 and a small network
    python benchmarks/training_step.py --models small --rounds 30
    python benchmarks/training_step.py --json out/training_step.json
    python benchmarks/training_step.py --models binarynet --profile   # where the time of a step goes

Same architecture, same batch, same optimizer. Every contender is a process of its own, so that its
memory is its own; they take turns, a few steps at a time, so that whatever else happens on the machine
hits all of them alike. A turn's time is divided by its steps; the ratio is the median of the ratios of
turns that follow one another. CPU is the time that all threads of the process were running: on a busy
machine it says more than the time on the wall. Memory is the largest resident set of the process, with
Python and the framework in it, and beside it what came on top after the import.

The row "ours + Sharpen" trains with the callback, whose sharpness changes before every step: the dearest
case, for by default it changes at most 250 times in a training. "Sharpen" is the time spent in its
hooks, as a share of the step.

`--profile` runs this package's step with one of its parts in the cheapest form at a time, and with all of
them: convolutions padded with zeros, kernels not divided by their root mean square, Keras's own batch
normalization, and a network that is hard, whose sign takes the place of a tanh. And Larq's step padded
with ones, as ours is.

Needs TensorFlow, JAX, larq and tf-keras; what is missing is left out.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent

#: Name of the contender, backend.
CONTENDERS = {
    "keras": ("plain Keras, tanh", "tensorflow"),
    "larq": ("Larq, ste_sign", "tensorflow"),
    "ours": ("ours", "tensorflow"),
    "ours+sharpen": ("ours + Sharpen", "tensorflow"),
    "keras-jax": ("plain Keras, tanh", "jax"),
    "ours-jax": ("ours", "jax"),
    "ours+sharpen-jax": ("ours + Sharpen", "jax"),
}

#: Parts of our step, and what a contender of `--profile` has in their place.
PARTS = {
    "zeros": "padded with zeros",
    "raw": "kernels not normalized",
    "bn": "Keras's batch normalization",
    "hard": "hard",
}
_CHEAPER = [*((part,) for part in PARTS), tuple(PARTS)]
PROFILE = {"larq:ones": ("Larq, padded with ones", "tensorflow")} | {
    f"ours:{'-'.join(parts)}{'' if backend == 'tensorflow' else '-jax'}": (
        "ours, all of these" if len(parts) > 1 else f"ours, {PARTS[parts[0]]}",
        backend,
    )
    for backend in ("tensorflow", "jax")
    for parts in _CHEAPER
}

KNOWN = {**CONTENDERS, **PROFILE}

#: Filters of the convolutions ("M" is a max-pooling), units of the dense layers, image.
MODELS = {
    "binarynet": ([128, 128, "M", 256, 256, "M", 512, 512, "M"], [1024, 1024], (32, 32, 3)),
    "small": ([32, 32, "M", 64, 64, "M"], [128], (16, 16, 3)),
}

CLASSES = 10


def _is_larq(contender: str) -> bool:
    """Whether it runs Larq, under Keras 2."""
    return contender.partition(":")[0] == "larq"


def build(contender: str, model: str) -> Any:
    """The Larq tutorial's BinaryNet, or its small sister, of the contender's layers."""
    filters, units, image = MODELS[model]
    if _is_larq(contender):
        import larq
        import tensorflow as tf

        keras = tf.keras
        binary = {"input_quantizer": "ste_sign"}
        kernel = {
            "kernel_quantizer": "ste_sign",
            "kernel_constraint": "weight_clip",
            "use_bias": False,
        }
        # Zeros are Larq's default and cheaper for it than ones, which ours pads with.
        padded = {"padding": "same", "pad_values": 1.0 if contender.endswith(":ones") else 0.0}

        def conv(width: int, first: bool) -> list[Any]:
            options = {} if first else {**binary, **padded}
            return [larq.layers.QuantConv2D(width, 3, **kernel, **options)]

        def dense(width: int) -> list[Any]:
            return [larq.layers.QuantDense(width, **kernel, **binary)]

        def normalization() -> Any:
            return keras.layers.BatchNormalization(momentum=0.9, scale=False)

    elif contender.startswith("keras"):
        import keras

        def activation() -> Any:
            return keras.layers.Activation("tanh")

        def conv(width: int, first: bool) -> list[Any]:
            layer = keras.layers.Conv2D(width, 3, padding="valid" if first else "same", use_bias=False)
            return [layer] if first else [activation(), layer]

        def dense(width: int) -> list[Any]:
            return [activation(), keras.layers.Dense(width, use_bias=False)]

        def normalization() -> Any:
            return keras.layers.BatchNormalization(momentum=0.9, scale=False)

    else:
        import keras

        import keras_sbn

        parts = contender.partition(":")[2].split("-")
        normalized = {"normalize_kernel": "raw" not in parts}
        padded = {**normalized, "pad_value": 0.0 if "zeros" in parts else 1.0}

        def activation() -> Any:
            return keras_sbn.layers.SelfBinarizingActivation()

        def conv(width: int, first: bool) -> list[Any]:
            padding = "valid" if first else "same"
            layer = keras_sbn.layers.SelfBinarizingConv2D(width, 3, padding=padding, **padded)
            return [layer] if first else [activation(), layer]

        def dense(width: int) -> list[Any]:
            return [activation(), keras_sbn.layers.SelfBinarizingDense(width, **normalized)]

        def normalization() -> Any:
            if "bn" in parts:
                return keras.layers.BatchNormalization(momentum=0.9, scale=False)
            return keras_sbn.layers.BinaryBatchNormalization(scale=False)

    stack: list[Any] = []
    for i, width in enumerate(filters):
        if width == "M":
            # conv, pool, batch normalization: the order of the tutorial
            stack.insert(-1, keras.layers.MaxPooling2D(2))
        else:
            stack += [*conv(width, i == 0), normalization()]
    stack.append(keras.layers.Flatten())
    for width in (*units, CLASSES):
        stack += [*dense(width), normalization()]
    stack.append(keras.layers.Activation("softmax"))
    network = keras.Sequential([keras.layers.InputLayer(image), *stack])
    network.compile(keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy")
    if "hard" in contender:
        keras_sbn.binarize(network)
    return network


def child(contender: str, model: str, batch: int) -> None:
    """Trains as many steps as a line of standard input says, and answers with their time."""
    import numpy as np

    if _is_larq(contender):
        import larq  # noqa: F401
        import tensorflow as tf

        keras = tf.keras
    else:
        import keras

    imported = peak_memory()
    network = build(contender, model)
    image = MODELS[model][2]
    rng = np.random.default_rng(0)

    class Clock(keras.callbacks.Callback):
        """From the first batch to the end of the epoch, where every backend has waited for itself."""

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.begun: float | None = None

        def on_train_batch_begin(self, step: int, logs: Any = None) -> None:
            if self.begun is None:
                self.begun, self.cpu_begun = time.perf_counter(), time.process_time()

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.took = time.perf_counter() - (self.begun or 0.0)
            self.cpu_took = time.process_time() - self.cpu_begun

    clock = Clock()
    callbacks: list[Any] = [clock]
    in_hooks = 0.0
    if "sharpen" in contender:
        from keras_sbn.callbacks import Sharpen
        from keras_sbn.schedules import Exponential

        class TimedSharpen(Sharpen):
            def on_epoch_begin(self, *args: Any, **kwargs: Any) -> None:
                self.timed(super().on_epoch_begin, *args, **kwargs)

            def on_train_batch_begin(self, *args: Any, **kwargs: Any) -> None:
                self.timed(super().on_train_batch_begin, *args, **kwargs)

            def on_epoch_end(self, *args: Any, **kwargs: Any) -> None:
                self.timed(super().on_epoch_end, *args, **kwargs)

            def timed(self, hook: Any, *args: Any, **kwargs: Any) -> None:
                nonlocal in_hooks
                begun = time.perf_counter()
                hook(*args, **kwargs)
                in_hooks += time.perf_counter() - begun

        callbacks.append(TimedSharpen(Exponential(end_at=1.0), update_freq=1, binarize=False))

    print(json.dumps({"imported": imported}), flush=True)
    for line in sys.stdin:
        steps = int(line)
        x = rng.normal(size=(steps * batch, *image)).astype("float32")
        y = rng.integers(0, CLASSES, steps * batch)
        in_hooks = 0.0
        network.fit(x, y, batch_size=batch, verbose=0, shuffle=False, callbacks=callbacks)
        answer = {
            "step": clock.took / steps,
            "cpu": clock.cpu_took / steps,
            "hooks": in_hooks / steps,
            "memory": peak_memory(),
        }
        print(json.dumps(answer), flush=True)


def peak_memory() -> float:
    """The largest resident set of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def start(contender: str, model: str, batch: int) -> subprocess.Popen[str]:
    """Starts a contender's process, which then waits."""
    environment = {
        **os.environ,
        "KERAS_BACKEND": KNOWN[contender][1],
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }
    if _is_larq(contender):
        environment["TF_USE_LEGACY_KERAS"] = "1"
    return subprocess.Popen(
        [sys.executable, __file__, "--child", contender, "--models", model, "--batch", str(batch)],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def ask(process: subprocess.Popen[str], steps: int | None = None) -> dict[str, float]:
    """Has a contender train `steps` steps, if any, and returns its answer."""
    assert process.stdin is not None
    assert process.stdout is not None
    if steps is not None:
        process.stdin.write(f"{steps}\n")
        process.stdin.flush()
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"Expected an answer of {process.args}. Received none: it failed.")
    return json.loads(line)


def measure(model: str, batch: int, rounds: int, steps: int, names: list[str]) -> dict[str, Any]:
    """Lets the contenders take turns; returns what each measured."""
    processes = {name: start(name, model, batch) for name in names}
    measured: dict[str, Any] = {}
    try:
        for name, process in processes.items():
            measured[name] = {**ask(process), "steps": [], "cpu": [], "hooks": []}
        for process in processes.values():
            ask(process, steps)  # traces and compiles
        for _ in range(rounds):
            for name, process in processes.items():
                answer = ask(process, steps)
                measured[name]["steps"].append(answer["step"])
                measured[name]["cpu"].append(answer["cpu"])
                measured[name]["hooks"].append(answer["hooks"])
                measured[name]["memory"] = answer["memory"]
    finally:
        for process in processes.values():
            process.kill()
            process.wait()
    return measured


def ratio(one: list[float], other: list[float]) -> float:
    """The median of the ratios of turns that followed one another."""
    return statistics.median(a / b for a, b in zip(one, other, strict=True))


def report(measured: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of the table."""
    rows = []
    for name, found in measured.items():
        title, backend = KNOWN[name]
        plain = measured.get("keras" if backend == "tensorflow" else "keras-jax")
        larq = measured.get("larq") if backend == "tensorflow" else None
        share = [hooks / step for hooks, step in zip(found["hooks"], found["steps"], strict=True)]
        rows.append(
            {
                "backend": backend,
                "contender": title,
                "step (ms)": 1000 * statistics.median(found["steps"]),
                "x keras": ratio(found["steps"], plain["steps"]) if plain else None,
                "x larq": ratio(found["steps"], larq["steps"]) if larq else None,
                "CPU (ms)": 1000 * statistics.median(found["cpu"]),
                "CPU x keras": ratio(found["cpu"], plain["cpu"]) if plain else None,
                "CPU x larq": ratio(found["cpu"], larq["cpu"]) if larq else None,
                "memory (MiB)": found["memory"],
                "above import (MiB)": found["memory"] - found["imported"],
                "memory x keras": found["memory"] / plain["memory"] if plain else None,
                "Sharpen (%)": 100 * statistics.median(share) if "sharpen" in name else None,
            }
        )
    return rows


def show(rows: list[dict[str, Any]]) -> str:
    """A Markdown table."""

    def cell(key: str, value: Any) -> str:
        if value is None:
            return ""
        if isinstance(value, str):
            return value
        return f"{value:.2f}" if "x " in key or "%" in key else f"{value:.1f}"

    keys = list(rows[0])
    lines = [" | ".join(keys), " | ".join("---" for _ in keys)]
    lines += [" | ".join(cell(key, row[key]) for key in keys) for row in rows]
    return "\n".join(f"| {line} |" for line in lines)


def available(contenders: dict[str, tuple[str, str]] = CONTENDERS) -> list[str]:
    """The contenders whose libraries are installed."""
    larq = ("larq", "tf_keras")
    needed = {
        name: (backend, *(larq if _is_larq(name) else ())) for name, (_, backend) in contenders.items()
    }
    return [name for name, packages in needed.items() if all(map(importlib.util.find_spec, packages))]


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--contenders", nargs="+", choices=KNOWN)
    parser.add_argument("--profile", action="store_true", help="our step with cheaper parts as well")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--steps", type=int, help="steps a turn; default 2, and 20 for the small one")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments.child, arguments.models[0], arguments.batch)
        return
    contenders = arguments.contenders or available(KNOWN if arguments.profile else CONTENDERS)
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    found = {}
    for model in arguments.models:
        steps = arguments.steps or (20 if model == "small" else 2)
        measured = measure(model, arguments.batch, arguments.rounds, steps, contenders)
        rows = report(measured)
        found[model] = rows
        print(
            f"\n{model}, batch {arguments.batch}, median of {arguments.rounds} turns of {steps} steps\n"
        )
        print(show(rows), flush=True)
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
