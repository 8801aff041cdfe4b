"""Classifies a picture with a portable .tflite file: the top classes, and how long the network takes.

python3 classify.py model.tflite photo.jpg --labels labels.txt

Needs LiteRT, NumPy and Pillow (`pip install ai-edge-litert numpy pillow`), and beside this file a copy of
keras_sbn/deployment/preprocessing.py, which needs nothing but NumPy.
"""

from __future__ import annotations

import argparse
import time
import zipfile
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter
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


def main() -> None:
    """Reads, runs, prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="a .tflite file of stock operators (--target tflite)")
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

    interpreter = Interpreter(str(options.model), num_threads=options.threads)
    interpreter.allocate_tensors()
    (source,) = interpreter.get_input_details()
    (target,) = interpreter.get_output_details()
    labels = read_labels(options.model, options.labels)
    if len(labels) != target["shape"][-1]:
        raise SystemExit(f"classify: expected {target['shape'][-1]} labels. Received: {len(labels)}")

    _, height, width, channels = source["shape"].tolist()
    with Image.open(options.picture) as picture:
        photograph = np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))
    image = fit_image(photograph, height, width, channels)
    scale, zero_point = source["quantization"]
    values = input_values(source["dtype"].__name__, options.input_range, scale or 1.0, zero_point)

    milliseconds = []
    for _ in range(1 + options.runs):
        interpreter.set_tensor(source["index"], values[image][np.newaxis])
        started = time.perf_counter()
        interpreter.invoke()
        milliseconds.append(1e3 * (time.perf_counter() - started))
    scores = interpreter.get_tensor(target["index"]).reshape(-1).astype(np.float64)
    scale, zero_point = target["quantization"]
    scores = scale * (scores - zero_point) if scale else scores
    for index in np.argsort(-scores, kind="stable")[: options.top]:
        print(f"{scores[index]:9.3f}  {labels[index]}")
    print(f"{np.median(milliseconds[1:]):.2f} ms, the median of {options.runs} runs")


if __name__ == "__main__":
    main()
