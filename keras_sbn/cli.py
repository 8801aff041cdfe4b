"""The `keras-sbn` command."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict

#: Exit codes: the work is done; a check failed; the input is bad.
OK, CHECK_FAILED, BAD_INPUT = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code: 0, 1 (a check failed) or 2 (bad input)."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except (ImportError, OSError, ValueError) as error:
        print(f"keras-sbn: {error}", file=sys.stderr)
        return BAD_INPUT


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="keras-sbn", description="Self-binarizing networks for Keras 3."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    demo = commands.add_parser(
        "demo",
        help="train on handwritten digits, convert, and compare every model on the way",
        description=(
            "Trains a small binary network on scikit-learn's handwritten digits, folds and converts it, "
            "runs the .tflite file in the Larq Compute Engine's interpreter, and compares the "
            "predictions. Exit code 1 if a single prediction of the file differs from the hard Keras "
            "model's."
        ),
        epilog="example: keras-sbn demo --out out/demo --epochs 40",
    )
    demo.add_argument("--out", default="out/demo", help="folder for the results (default: %(default)s)")
    demo.add_argument("--epochs", type=int, default=40, help="number of epochs (default: %(default)s)")
    demo.add_argument("--seed", type=int, default=0, help="seed of the run (default: %(default)s)")
    demo.add_argument("--json", action="store_true", help="print the figures as JSON, nothing else")
    demo.set_defaults(run=_demo)
    return parser


def _demo(options: argparse.Namespace) -> int:
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
