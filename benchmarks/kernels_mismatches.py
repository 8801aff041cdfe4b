"""Mismatches of the one-bit kernels: every sign and every output beside the folded Keras model's.

python benchmarks/mismatches.py --kernels --data-dir cifar10/test --images 10000 --networks 2000

With each instruction set that the processor has. Part of mismatches.py, which says what the networks are.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

import keras_sbn
from keras_sbn import bits
from keras_sbn.binarize import decisions
from keras_sbn.tflite.kernels import KernelsInterpreter, instruction_sets
from keras_sbn.verification.first_difference import cropped, layers_as_outputs

#: What is counted, in this order, for each instruction set.
FIGURES = (
    "samples",
    "decisions that differ",
    "signs",
    "signs that differ",
    "outputs",
    "outputs that differ",
)


def usable() -> list[str]:
    """Instruction sets of this processor."""
    return [name for name, has in instruction_sets().items() if has]


class Comparison:
    """A network folded and converted, and the file with every instruction set.

    Args:
        model: The hard model.
        tally: Where to count, by instruction set.

    Raises:
        ValueError: If the network cannot be folded or converted.
    """

    def __init__(self, model: Any, tally: dict[str, Counter]) -> None:
        self._tally = tally
        folded = keras_sbn.fold(model)
        content = keras_sbn.convert(folded, target="lce").content
        copy, layers = layers_as_outputs(content, folded)
        self._layers = [layer.name for layer in layers]
        self._plain = {name: KernelsInterpreter(content, 1, name) for name in tally}
        self._with_layers = {name: KernelsInterpreter(copy, 1, name) for name in tally}
        wanted = [folded.get_layer(name).output for name in self._layers]
        self._model = keras.Model(folded.inputs, [*folded.outputs, *wanted])

    def add(self, x: np.ndarray, run: Callable[[Any, np.ndarray], Any]) -> None:
        """Compares a batch, which `run` gives to the Keras model.

        Signs are compared in a copy of the file that has all layers as outputs, and the outputs in the
        file itself, in which operators are computed together.
        """
        expected, *layers = (np.asarray(value) for value in run(self._model, x))
        words: dict[int, tuple[np.ndarray, int]] = {}
        for name, found in self._tally.items():
            (received,) = self._plain[name].predict([x])
            wrong = (decisions(received) != decisions(expected)).reshape(len(x), -1).any(axis=-1)
            found["samples"] += len(x)
            found["decisions that differ"] += int(wrong.sum())
            found["outputs"] += expected.size
            found["outputs that differ"] += int(np.count_nonzero(received != expected))
            largest = float(np.abs(received - expected).max(initial=0))
            found["largest difference"] = max(found["largest difference"], largest)
            outputs = self._with_layers[name].predict([x], dequantize=False)
            for index, (layer, wanted, stored) in enumerate(
                zip(self._layers, layers, outputs, strict=True)
            ):
                if stored.dtype != np.int32:
                    continue
                if index not in words:
                    signs = cropped(wanted, stored)
                    words[index] = bits.pack(signs), signs.size
                packed, size = words[index]
                if packed.shape != stored.shape:
                    raise RuntimeError(
                        f"Expected words of shape {packed.shape} of layer {layer!r}. "
                        f"Received: {stored.shape}"
                    )
                found["signs"] += size
                different = (packed ^ stored)[packed != stored]
                found["signs that differ"] += int(np.unpackbits(different.view(np.uint8)).sum())


def report(title: str, tally: dict[str, Counter], seconds: float) -> None:
    """Prints what was counted."""
    for name, found in tally.items():
        figures = ", ".join(f"{figure}: {found[figure]:,}" for figure in FIGURES)
        print(
            f"{title}, kernels {name} ({seconds:.0f} s): {figures}, by at most "
            f"{found['largest difference']:.3g}",
            flush=True,
        )


def compare_kernels(title: str, model: Any, x: np.ndarray, batch: int = 50) -> None:
    """Compares a network on many images."""
    started = time.perf_counter()
    tally: dict[str, Counter] = {name: Counter() for name in usable()}
    comparison = Comparison(model, tally)
    for start in range(0, len(x), batch):
        comparison.add(x[start : start + batch], lambda model, part: model.predict_on_batch(part))
    report(title, tally, time.perf_counter() - started)


def compare_random_kernels(count: int, first_seed: int, draw_networks: Callable[..., None]) -> None:
    """Compares `count` random networks, and says how many others were refused.

    Args:
        count: Networks to compare.
        first_seed: Seed of the first.
        draw_networks: That of mismatches.py.
    """
    started = time.perf_counter()
    tally: dict[str, Counter] = {name: Counter() for name in usable()}
    found: Counter = Counter()

    def compare_one(model: Any, x: np.ndarray) -> None:
        try:
            comparison = Comparison(model, tally)
        except ValueError:
            found["refused"] += 1
            return
        comparison.add(x, lambda model, x: model([x]))
        found["networks"] += 1
        if found["networks"] % 100 == 0:
            report(f"{found['networks']} random networks", tally, time.perf_counter() - started)

    draw_networks(lambda: count - found["networks"], first_seed, compare_one)
    title = f"{found['networks']} random networks ({found['refused']} refused)"
    report(title, tally, time.perf_counter() - started)


if __name__ == "__main__":
    raise SystemExit("Expected: python benchmarks/mismatches.py --kernels")
