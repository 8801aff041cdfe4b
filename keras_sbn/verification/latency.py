"""How long files take on this machine."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from keras_sbn.conversion.converted import ConvertedModel
from keras_sbn.tflite.interpreter import Interpreter, has_fast_default_kernel, open_interpreter

_WARM_UP = 3


@dataclass(frozen=True)
class Latency:
    """What `benchmark` measured of one file, in milliseconds a sample.

    Attributes:
        file: The path.
        file_bytes: Its size.
        kernels: What ran it: `"LCE, indirect"`, `"LCE, default"` or `"TFLite, XNNPACK"`.
        num_threads: Number of threads.
        runs: Number of runs.
        median_ms: Half of the runs took no longer.
        low_ms: A tenth of the runs took no longer.
        high_ms: Nine tenths of the runs took no longer.
    """

    file: str
    file_bytes: int
    kernels: str
    num_threads: int
    runs: int
    median_ms: float
    low_ms: float
    high_ms: float


def benchmark(
    files: Sequence[str | os.PathLike[str]], *, runs: int = 50, num_threads: int = 1
) -> list[Latency]:
    """Measures the latency of several files side by side.

    The files run in turns, one sample each, so that whatever else the machine does meets all of them
    alike. Each runs with the kernels that are fastest on this machine: LCE's indirect binary kernel and
    XNNPACK on x86, LCE's defaults on 64-bit ARM, and XNNPACK for stock files.

    Args:
        files: Paths of `.tflite` files.
        runs: Positive number of runs of each file, after three that do not count.
        num_threads: Positive number of threads.

    Returns:
        A `Latency` a file, in order.

    Raises:
        OSError: If a file cannot be read.
        ValueError: If a file is not a TFLite model, or a number is not positive.
        ImportError: If the runtime of a file is not installed.
        RuntimeError: If the runtime refuses a file.

    Example:

    >>> model = keras.Sequential([keras.Input((32,)), keras_sbn.layers.SelfBinarizingDense(4)])
    >>> report = keras_sbn.binarize(model)
    >>> path = keras_sbn.convert(model).save("model.tflite")
    >>> [latency.runs for latency in keras_sbn.benchmark([path], runs=5)]
    [5]
    """
    for name, value in (("runs", runs), ("num_threads", num_threads)):
        if value < 1:
            raise ValueError(f"Expected `{name}` to be positive. Received: {name}={value}")
    models = [ConvertedModel.load(path) for path in files]
    interpreters = [open_interpreter(model.content, model.target, num_threads) for model in models]
    inputs = [_random_inputs(interpreter) for interpreter in interpreters]
    times = np.zeros((len(models), _WARM_UP + runs))
    for run in range(_WARM_UP + runs):
        for index, interpreter in enumerate(interpreters):
            started = time.perf_counter()
            interpreter.run(inputs[index])
            times[index, run] = 1e3 * (time.perf_counter() - started)
    lce = "LCE, default" if has_fast_default_kernel() else "LCE, indirect"
    found = []
    for path, model, row in zip(files, models, times[:, _WARM_UP:], strict=True):
        low, median, high = (float(value) for value in np.quantile(row, (0.1, 0.5, 0.9)))
        kernels = lce if model.target == "lce" else "TFLite, XNNPACK"
        size = len(model.content)
        found.append(Latency(str(path), size, kernels, num_threads, runs, median, low, high))
    return found


def _random_inputs(interpreter: Interpreter) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    inputs = []
    for shape, dtype in zip(interpreter.input_shapes, interpreter.input_types, strict=True):
        values = rng.integers(0, 128, shape)
        inputs.append((values / 128 if dtype.kind == "f" else values).astype(dtype))
    return inputs
