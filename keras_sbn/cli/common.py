"""What the subcommands share."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import keras

from keras_sbn.binarize import binarize

#: Exit codes: the work is done; a check failed; the input is bad.
OK, CHECK_FAILED, BAD_INPUT = 0, 1, 2


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
    parser.add_argument(
        "--binarize", action="store_true", help="make a model hard that has not been sharpened to the end"
    )


def load_model(options: argparse.Namespace) -> Any:
    """Loads the model a command was given.

    Raises:
        ValueError: If it is not a Keras model, or has nothing to make hard.
    """
    try:
        model = keras.models.load_model(options.model, compile=False)
    except Exception as error:  # What Keras raises depends on where the file is damaged.
        raise ValueError(
            f"Expected a .keras file of a model. Received: {options.model} ({type(error).__name__}: "
            f"{str(error).strip().splitlines()[0] if str(error).strip() else 'no message'})"
        ) from error
    if options.binarize:
        binarize(model)
    return model


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
