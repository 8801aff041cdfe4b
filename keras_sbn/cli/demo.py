"""`keras-sbn demo`: the whole path on handwritten digits."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from typing import Any

from keras_sbn.cli.common import CHECK_FAILED, OK, add_command, configured_backend, count


def add_to(commands: Any) -> None:
    """Adds the subcommand."""
    parser = add_command(
        commands,
        "demo",
        "train on handwritten digits, convert, and compare every model on the way",
        "Trains a small binary network on scikit-learn's handwritten digits, folds and converts it,\n"
        "runs the .tflite file in the best runtime that is installed, and compares the\n"
        "predictions. Exit code 1 if a single prediction of the file differs from the hard Keras\n"
        "model's.",
        "keras-sbn demo --out out/demo --epochs 40",
    )
    parser.add_argument("--out", default="out/demo", help="folder for the results (default: %(default)s)")
    parser.add_argument(
        "--epochs", type=count, default=40, help="number of epochs (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the run (default: %(default)s)")
    parser.set_defaults(run=run, backend_of=configured_backend)


def run(options: argparse.Namespace) -> int:
    """Runs the demo."""
    from keras_sbn.demo import run_demo

    def quiet(line: str) -> None:
        del line

    say = quiet if options.json else _say
    result = run_demo(options.out, options.epochs, options.seed, say)
    if options.json:
        print(json.dumps(asdict(result)))
    if not result.exact:
        print(
            "keras-sbn: predictions of the folded model or the file differ from the hard model's",
            file=sys.stderr,
        )
        return CHECK_FAILED
    return OK


def _say(line: str) -> None:
    print(line, flush=True)
