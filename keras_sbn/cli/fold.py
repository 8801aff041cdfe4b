"""`keras-sbn fold`: batch normalization and sign become integer thresholds."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from keras_sbn.cli.common import (
    OK,
    add_command,
    add_folding,
    add_model,
    file_to_write,
    folded,
    load_model,
)
from keras_sbn.cli.runs import run_of


def add_to(commands: Any) -> None:
    """Adds the subcommand."""
    parser = add_command(
        commands,
        "fold",
        "fold batch normalization and sign into integer thresholds",
        "Writes the folded model as a .keras file: int8 kernels of -1 and +1, and int32 thresholds.",
        "keras-sbn fold model.keras --out folded.keras",
    )
    add_model(parser)
    add_folding(parser)
    parser.add_argument(
        "--out",
        type=file_to_write,
        default="folded.keras",
        help="file to write (default: %(default)s)",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Folds and writes."""
    if Path(options.out).suffix != ".keras":
        raise ValueError(f"Expected --out to end in .keras. Received: {options.out}")
    from keras_sbn.files import save_model

    model = load_model(options)
    model = folded(model, options, run_of(Path(options.model)))
    save_model(model, options.out)
    layers = [{"name": layer.name, "class": type(layer).__name__} for layer in model.layers]
    if options.json:
        print(json.dumps({"file": options.out, "layers": layers}))
    else:
        for layer in layers:
            print(f"{layer['class']:<14}  {layer['name']}")
        print(f"written to {options.out}")
    return OK
