"""The `keras-sbn` command; a module a subcommand.

Nothing that these modules import at their top imports Keras: a subcommand that needs it says so, and
Keras is imported after the arguments are parsed, on the backend that they ask for.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import traceback
from collections.abc import Sequence

from keras_sbn.cli import benchmark, convert, demo, deploy, fold, inspect, train, verify
from keras_sbn.cli.common import BAD_INPUT, INTERRUPTED, OK, plain
from keras_sbn.cli.parser import Parser, Version, complete
from keras_sbn.cli.start import start_keras


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code.

    It is 0 where the work is done, 1 where a check failed, and 2 for bad input or any other error; 130
    after Ctrl-C, as shells have it.
    """
    parser = _parser()
    complete(parser)
    options = parser.parse_args(arguments)
    try:
        if options.backend_of is not None:
            start_keras(*options.backend_of(options))
        code = int(options.run(options))
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # The reader of a pipe, such as `head`, has seen enough; what is left to write goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except KeyboardInterrupt:
        print(f"\nkeras-sbn: {options.stopped(options)}", file=sys.stderr)
        return INTERRUPTED
    except (ImportError, OSError, RuntimeError, ValueError) as error:
        print(f"keras-sbn: {plain(error)}", file=sys.stderr)
        return BAD_INPUT
    except Exception:
        traceback.print_exc()
        print("keras-sbn: an error that should not be; please report it with the above", file=sys.stderr)
        return BAD_INPUT


def command() -> int:
    """Runs the command line as a process of its own and returns its exit code.

    After Ctrl-C the process ends at once: threads of TensorFlow may still compute the step that was
    interrupted, and have crashed while Python took down what they use.
    """
    code = main()
    if code == INTERRUPTED:
        with contextlib.suppress(BrokenPipeError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="keras-sbn",
        description="Self-binarizing networks for Keras 3.",
        epilog="exit codes: 0 done, 1 a check failed, 2 bad input or an error",
    )
    parser.add_argument("--version", action=Version, help="show versions and exit")
    parser.set_defaults(backend_of=None, stopped=lambda options: "stopped")
    commands = parser.add_subparsers(
        dest="command", required=True, metavar="command", parser_class=Parser
    )
    for command in (demo, train, fold, convert, inspect, verify, benchmark, deploy):
        command.add_to(commands)
    return parser
