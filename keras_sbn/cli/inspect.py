"""`keras-sbn inspect`: which operators of a .tflite file run binary, which do not, and why."""

from __future__ import annotations

import argparse
from typing import Any

from keras_sbn.cli.common import OK, add_command, file_to_read


def add_to(commands: Any) -> None:
    """Adds the subcommand."""
    parser = add_command(
        commands,
        "inspect",
        "say which operators of a .tflite file run binary, which do not, and why",
        "Reads any .tflite file, for the Larq Compute Engine or for stock TFLite, from any converter.",
        "keras-sbn inspect model.tflite",
    )
    parser.add_argument("file", type=file_to_read, help="a .tflite file")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Reads and prints."""
    from keras_sbn.conversion.inspection import inspect

    report = inspect(options.file)
    print(report.to_json() if options.json else report)
    return OK
