"""The `keras-sbn` command; a module a subcommand."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from keras_sbn.cli import benchmark, convert, demo, deploy, fold, inspect, train, verify
from keras_sbn.cli.common import BAD_INPUT


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code: 0, 1 (a check failed) or 2 (bad input)."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except (ImportError, OSError, RuntimeError, ValueError) as error:
        print(f"keras-sbn: {error}", file=sys.stderr)
        return BAD_INPUT


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="keras-sbn",
        description="Self-binarizing networks for Keras 3.",
        epilog="exit codes: 0 done, 1 a check failed, 2 bad input",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    for command in (demo, train, fold, convert, inspect, verify, benchmark, deploy):
        command.add_to(commands)
    return parser
