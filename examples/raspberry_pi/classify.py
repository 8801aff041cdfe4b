"""Classifies a picture with a .tflite file: the top classes, and how long the network takes.

python3 classify.py model.tflite photo.jpg --labels labels.txt

One-bit files (`--target lce`) need keras-sbn-kernels (`pip install ./kernels` in a clone of keras_sbn),
which runs portable ones too; without it these run in LiteRT alone (`pip install ai-edge-litert numpy`).
Pillow reads the picture (`pip install pillow`), and beside this file lies a copy of
keras_sbn/deployment/preprocessing.py, which needs nothing but NumPy.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from preprocessing import fit_image, input_values


def read_labels(model: Path, labels: Path | None) -> list[str]:
    """The classes: of the text file, or those that metadata put behind the model as a zip archive."""
    if labels is not None:
        return labels.read_text(encoding="utf-8").splitlines()
    if not zipfile.is_zipfile(model):
        raise SystemExit(f"classify: {model} holds no labels. Give them: --labels labels.txt")
    with zipfile.ZipFile(model) as archive:
        return archive.read("labels.txt").decode().splitlines()


class OneBitRuntime:
    """LiteRT with the kernels of keras-sbn-kernels."""

    def __init__(self, path: Path, threads: int) -> None:
        from keras_sbn_kernels import Model

        self._model = Model(path, num_threads=threads)
        (source,), (target,) = self._model.inputs, self._model.outputs
        self.name = f"one-bit kernels, {self._model.instructions}"
        self.shape, self.dtype, self.scale = source.shape, source.dtype, source.scale
        self.classes, self.output_scale = target.shape[-1], target.scale

    def run(self, x: np.ndarray) -> np.ndarray:
        """The output for one image."""
        return self._model.run([x])[0]


class StockRuntime:
    """LiteRT alone, for portable files."""

    def __init__(self, path: Path, threads: int) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._interpreter = Interpreter(str(path), num_threads=threads)
        try:
            self._interpreter.allocate_tensors()
        except RuntimeError as error:
            raise SystemExit(
                f"classify: LiteRT alone does not run {path}; a one-bit file needs keras-sbn-kernels: "
                f"pip install ./kernels, in a clone of keras_sbn ({error})"
            ) from error
        (self._source,) = self._interpreter.get_input_details()
        (self._target,) = self._interpreter.get_output_details()
        self.name = "LiteRT"
        self.shape, self.dtype = self._source["shape"].tolist(), np.dtype(self._source["dtype"])
        self.classes = self._target["shape"][-1]
        self.scale, self.output_scale = (
            detail["quantization"] if detail["quantization"][0] else None
            for detail in (self._source, self._target)
        )

    def run(self, x: np.ndarray) -> np.ndarray:
        """The output for one image."""
        self._interpreter.set_tensor(self._source["index"], x)
        self._interpreter.invoke()
        return self._interpreter.get_tensor(self._target["index"])


def main() -> None:
    """Reads, runs, prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="a .tflite file, one-bit or portable")
    parser.add_argument("picture", type=Path)
    parser.add_argument("--labels", type=Path, help="classes, one a line (default: those in the file)")
    parser.add_argument(
        "--input-range",
        nargs=2,
        type=float,
        default=(0, 255),
        metavar=("LOW", "HIGH"),
        help="what 0 and 255 become before the network sees them (default: 0 255, for a model that takes "
        "the 8-bit image)",
    )
    parser.add_argument("--top", type=int, default=5, help="classes to print (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=4, help="threads (default: %(default)s)")
    parser.add_argument("--runs", type=int, default=20, help="runs to measure (default: %(default)s)")
    options = parser.parse_args()

    has_kernels = importlib.util.find_spec("keras_sbn_kernels") is not None
    runtime = (OneBitRuntime if has_kernels else StockRuntime)(options.model, options.threads)
    labels = read_labels(options.model, options.labels)
    if len(labels) != runtime.classes:
        raise SystemExit(f"classify: expected {runtime.classes} labels. Received: {len(labels)}")

    _, height, width, channels = runtime.shape
    with Image.open(options.picture) as picture:
        photograph = np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))
    image = fit_image(photograph, height, width, channels)
    scale, zero_point = runtime.scale or (1.0, 0)
    values = input_values(runtime.dtype.name, options.input_range, scale, zero_point)

    milliseconds = []
    for _ in range(1 + options.runs):
        started = time.perf_counter()
        output = runtime.run(values[image][np.newaxis])
        milliseconds.append(1e3 * (time.perf_counter() - started))
    scores = output.reshape(-1).astype(np.float64)
    if runtime.output_scale is not None:
        scale, zero_point = runtime.output_scale
        scores = scale * (scores - zero_point)
    for index in np.argsort(-scores, kind="stable")[: options.top]:
        print(f"{scores[index]:9.3f}  {labels[index]}")
    print(f"{np.median(milliseconds[1:]):.2f} ms, the median of {options.runs} runs, {runtime.name}")


if __name__ == "__main__":
    main()
