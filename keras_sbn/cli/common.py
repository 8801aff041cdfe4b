"""What the subcommands share."""

from __future__ import annotations

import argparse
import os
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

from keras_sbn.cli.runs import KnownRun
from keras_sbn.tflite.options import RUNTIMES

#: Exit codes: the work is done; a check failed; the input is bad; Ctrl-C, as shells have it.
OK, CHECK_FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130


def configured_backend(options: argparse.Namespace) -> tuple[str | None, str]:
    """The backend that a subcommand wants which only needs one of them."""
    del options
    return None, ""


def plain(error: BaseException) -> str:
    """The message of an error for a person: no number, and the name of the file at its end."""
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{error.strerror.rstrip('.')}. Received: {os.fspath(error.filename)}"
    return str(error) or type(error).__name__


def file_to_write(text: str) -> str:
    """A path of the command line that a file is written to: no folder, and in one that is there."""
    path = Path(text)
    if not text or path.is_dir():
        raise argparse.ArgumentTypeError(
            f"expected the name of a file, received {text or 'nothing'}, a folder"
        )
    return text


def file_to_read(text: str) -> str:
    """A path of the command line that has to be a file."""
    if not text or Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"expected a file, received {text or 'nothing'}, a folder")
    return text


def add_command(commands: Any, name: str, help: str, description: str, example: str) -> Any:
    """Adds a subcommand, with an example at the end of its help and `--json`, and returns its parser."""
    parser = commands.add_parser(
        name,
        help=help,
        description=description,
        epilog=f"example: {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="print JSON for machines, nothing else")
    return parser


def add_model(parser: Any) -> None:
    """Adds the `.keras` file that a command reads, and whether to take its signs as they are."""
    parser.add_argument("model", help="a .keras file: a trained model, or a folded one")
    parser.set_defaults(backend_of=configured_backend)
    parser.add_argument(
        "--binarize", action="store_true", help="make a model hard that has not been sharpened to the end"
    )


def load_model(options: argparse.Namespace) -> Any:
    """Loads the model a command was given.

    Raises:
        ValueError: If it is not a Keras model, or has nothing to make hard.
    """
    import keras

    from keras_sbn.binarize import binarize

    path = Path(options.model)
    if not path.exists():
        raise ValueError(f"Expected a .keras file of a model. Received: {path}, which does not exist")
    if path.is_dir():
        raise ValueError(f"Expected a .keras file of a model. Received: {path}, which is a folder")
    try:
        model = keras.models.load_model(path, compile=False)
    except Exception as error:  # What Keras raises depends on where the file is damaged.
        raise ValueError(
            f"Expected a .keras file of a model. Received: {options.model} ({type(error).__name__}: "
            f"{str(error).strip().splitlines()[0] if str(error).strip() else 'no message'})"
        ) from error
    if options.binarize:
        binarize(model)
    return model


def add_folding(parser: Any) -> None:
    """Adds what `keras_sbn.fold` can be told of a model's images."""
    parser.add_argument(
        "--input-scaling",
        nargs=2,
        type=number,
        metavar=("SCALE", "OFFSET"),
        help="the model was trained on SCALE * image + OFFSET of 8-bit images: take the images "
        "themselves, and sum integers in a binary first layer; 1/255 0 for image / 255 (default: that of "
        "the run that the model comes from)",
    )
    parser.add_argument(
        "--quantize-first-layer",
        action="store_true",
        help="quantize a first float convolution on 8-bit images to int8 weights",
    )


def add_runtime(parser: Any) -> None:
    """Adds what runs a .tflite file."""
    parser.add_argument(
        "--runtime",
        choices=RUNTIMES,
        help="kernels: the one-bit kernels of keras-sbn-kernels in LiteRT; lce: the interpreter of the "
        "Larq Compute Engine; litert: stock TFLite, for stock files alone (default: the best that is "
        "installed: for files with operators of LCE kernels, then lce, for others litert)",
    )


def takes_images(model: Any) -> bool:
    """Whether a model takes the 8-bit images themselves, as a folded one does."""
    return any(tensor.dtype == "uint8" for tensor in model.inputs)


def folded(model: Any, options: argparse.Namespace, known: KnownRun | None = None) -> Any:
    """Folds a model as the options of `add_folding` say, or, where they say nothing, as its run did."""
    from keras_sbn.folding.fold import fold

    scaling = None if options.input_scaling is None else tuple(options.input_scaling)
    quantize = options.quantize_first_layer
    if scaling is None and known is not None and not takes_images(model):
        scaling = known.input_scaling
        quantize = quantize or known.quantize_first_layer
        shown = " ".join(f"{value:g}" for value in scaling)
        print(f"keras-sbn: --input-scaling {shown}, of {known.source}", file=sys.stderr)
    return fold(model, input_scaling=scaling, quantize_first_layer=quantize)


def read_data(path: str) -> Any:
    """Reads inputs from an `.npy` file, or an `.npz` with an array an input.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is neither.
    """
    from keras_sbn.data.arrays import read_arrays

    arrays = read_arrays(path)
    return next(iter(arrays.values())) if isinstance(arrays, dict) and len(arrays) == 1 else arrays


def number(text: str) -> float:
    """A number of the command line, or a fraction such as 1/255."""
    try:
        return float(Fraction(text))
    except (ValueError, ZeroDivisionError):
        raise argparse.ArgumentTypeError(f"expected a number or a fraction, received {text}") from None


def share(text: str) -> float:
    """A number from 0 to 1 of the command line."""
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"expected a share, from 0 to 1, received {text}")
    return value


def count(text: str) -> int:
    """A positive whole number of the command line."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a positive number, received {text}")
    return value


def read_labels(path: str) -> list[str]:
    """Reads names of classes, one a line.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is not text.
    """
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(
            f"Expected a text file in UTF-8, a class a line. Received: {path} ({error})"
        ) from error
