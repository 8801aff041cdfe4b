"""`keras-sbn verify`: does a .tflite file compute what the Keras model computes?"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from keras_sbn.cli.common import (
    CHECK_FAILED,
    OK,
    add_command,
    add_folding,
    add_model,
    add_runtime,
    count,
    file_to_read,
    folded,
    load_model,
    read_data,
    share,
    takes_images,
)
from keras_sbn.cli.runs import run_of
from keras_sbn.tflite.options import KERNELS


def add_to(commands: Any) -> None:
    """Adds the subcommand."""
    parser = add_command(
        commands,
        "verify",
        "compare every output of a .tflite file with the Keras model",
        "Runs the file and the model on the same inputs. Exit code 1 if a single decision differs; then\n"
        "the first sample and the first layer that differ are named. A file that takes 8-bit images is\n"
        "compared with the folded model where that takes them too, by --input-scaling.",
        "keras-sbn verify model.keras model.tflite --data images.npy --workers 2",
    )
    add_model(parser)
    add_folding(parser)
    parser.add_argument("file", type=file_to_read, help="a .tflite file")
    parser.add_argument(
        "--data", help="inputs as .npy, or as .npz with an array an input (default: random numbers)"
    )
    parser.add_argument(
        "--samples",
        type=count,
        default=1000,
        help="number of random samples: 8-bit images, or multiples of 1/128 in [-1, 1) where the model "
        "takes floats (default: %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of random samples")
    parser.add_argument(
        "--workers", type=count, default=1, help="processes that run the file (default: %(default)s)"
    )
    add_runtime(parser)
    parser.add_argument(
        "--kernel",
        choices=KERNELS,
        help="binary kernel of the Larq Compute Engine, which runs the file then: 64-bit ARM runs the "
        "default one (default: the fastest here)",
    )
    parser.add_argument(
        "--required-agreement",
        type=share,
        default=1.0,
        help="share of the samples on which decisions have to be equal; less than 1 for files with int8 "
        "activations, which round (default: %(default)s)",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Compares and prints."""
    from keras_sbn.conversion.converted import ConvertedModel
    from keras_sbn.verification.verify import verify

    converted = ConvertedModel.load(options.file)
    model = _model(options, converted)
    x = _random(model, options) if options.data is None else read_data(options.data)
    found = verify(
        converted,
        model,
        x,
        workers=options.workers,
        progress=not options.json,
        required_agreement=options.required_agreement,
        runtime=options.runtime,
        kernel=options.kernel,
        isolated=True,
    )
    print(json.dumps(found.to_dict()) if options.json else found)
    return OK if found else CHECK_FAILED


def _model(options: argparse.Namespace, converted: Any) -> Any:
    """The model, folded where it has to be to take what the file takes."""
    model = load_model(options)
    stored = {tensor.dtype for tensor in converted.report.inputs}
    known = run_of(Path(options.model))
    asked = options.input_scaling is not None or options.quantize_first_layer
    if asked or (stored == {"uint8"} and not takes_images(model) and known is not None):
        return folded(model, options, known)
    if stored == {"uint8"} and not takes_images(model) and options.data is None:
        raise ValueError(
            f"Expected to know what {options.model} sees of an 8-bit image, which {options.file} takes. "
            "Received: no --input-scaling; give it as for `keras-sbn convert`"
        )
    return model


def _random(model: Any, options: argparse.Namespace) -> list[Any]:
    import numpy as np

    rng = np.random.default_rng(options.seed)
    inputs = []
    for tensor in model.inputs:
        values = rng.integers(0, 256, (options.samples, *tensor.shape[1:]))
        image = tensor.dtype == "uint8"
        inputs.append(values.astype("uint8") if image else (values / 128 - 1).astype("float32"))
    return inputs
