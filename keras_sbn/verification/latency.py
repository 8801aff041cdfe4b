"""How long files take on this machine."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_sbn.conversion.converted import ConvertedModel
from keras_sbn.tflite.interpreter import Interpreter, open_interpreter
from keras_sbn.tflite.options import Kernel, Runtime
from keras_sbn.tflite.reader import name_of, named
from keras_sbn.tflite.worker import Worker

_WARM_UP = 3


@dataclass(frozen=True)
class Latency:
    """What `benchmark` measured of one file, in milliseconds a sample.

    Attributes:
        file: The path, or what it is where it has none.
        file_bytes: Its size.
        runtime: What ran it: `"LiteRT, one-bit kernels, avx512"`, `"LCE, indirect kernel, XNNPACK"`,
            `"LiteRT, XNNPACK"`.
        num_threads: Number of threads.
        runs: Number of runs.
        median_ms: Half of the runs took no longer.
        low_ms: A tenth of the runs took no longer.
        high_ms: Nine tenths of the runs took no longer.
    """

    file: str
    file_bytes: int
    runtime: str
    num_threads: int
    runs: int
    median_ms: float
    low_ms: float
    high_ms: float

    @property
    def kernels(self) -> str:
        """The old name of `runtime`."""
        warnings.warn("Latency.kernels is called Latency.runtime now", DeprecationWarning, stacklevel=2)
        return self.runtime


def benchmark(
    files: Sequence[Any],
    *,
    runs: int = 50,
    num_threads: int = 1,
    runtime: Runtime | None = None,
    kernel: Kernel | None = None,
    xnnpack: bool | None = None,
    isolated: bool = False,
) -> list[Latency]:
    """Measures the latency of several files side by side.

    The files run in turns, one sample each, so that whatever else the machine does meets all of them
    alike. Each runs with what is fastest on this machine: the one-bit kernels of keras-sbn-kernels where
    they are installed, else LCE's indirect binary kernel and XNNPACK on x86 and LCE's defaults on 64-bit
    ARM, and XNNPACK for stock files.

    Args:
        files: `.tflite` files, each as a path, as bytes or as a `keras_sbn.ConvertedModel`.
        runs: Positive number of runs of each file, after three that do not count.
        num_threads: Positive number of threads.
        runtime: What runs the files, as for `keras_sbn.verify`; `None` takes the best for each.
        kernel: Which of LCE's binary kernels, as for `keras_sbn.verify`; `None` takes the fastest here.
        xnnpack: Whether stock operators run in XNNPACK; `None` does where that is faster.
        isolated: Whether each file runs in a process of its own, which measures itself. A damaged file
            can end the process that runs it; then this is a RuntimeError.

    Returns:
        A `Latency` a file, in order.

    Raises:
        OSError: If a file cannot be read.
        ValueError: If a file is not a TFLite model, the runtime does not run such a file, or a number is
            not positive.
        ImportError: If the runtime of a file is not installed.
        RuntimeError: If the runtime refuses a file, or the process of an isolated one ended.

    Errors name the file.

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
    models = [ConvertedModel.load(file) for file in files]
    options: dict[str, Any] = {"runtime": runtime, "kernel": kernel, "xnnpack": xnnpack}
    times = np.zeros((len(models), _WARM_UP + runs))
    with ExitStack() as stack:
        runners: list[Interpreter | Worker] = []
        for model in models:
            with named(model):
                if isolated:
                    runners.append(stack.enter_context(model.worker(num_threads, **options)))
                else:
                    runners.append(open_interpreter(model.content, model.target, num_threads, **options))
        for run in range(_WARM_UP + runs):
            for index, runner in enumerate(runners):
                with named(models[index]):
                    times[index, run] = runner.time()
        names = [runner.runtime for runner in runners]
    found = []
    for file, model, ran, row in zip(files, models, names, times[:, _WARM_UP:], strict=True):
        low, median, high = (float(value) for value in np.quantile(row, (0.1, 0.5, 0.9)))
        size = len(model.content)
        found.append(Latency(name_of(file), size, ran, num_threads, runs, median, low, high))
    return found
