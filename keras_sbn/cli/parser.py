"""The parser of the command line: argparse, with hints for what was misspelt."""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
from importlib import metadata
from typing import Any, NoReturn

from keras_sbn.suggestions import did_you_mean
from keras_sbn.version import __version__

#: Packages whose versions belong in a report of a bug.
_PACKAGES = (
    "keras",
    "numpy",
    "tensorflow",
    "jax",
    "torch",
    "ai-edge-litert",
    "larq-compute-engine",
    "larq",
)


class Parser(argparse.ArgumentParser):
    """An `ArgumentParser` whose errors show the usage of the subcommand and what may have been meant."""

    def __init__(self, **options: Any) -> None:
        # A beginning of a flag is not the flag: a later version may have two of that beginning.
        super().__init__(allow_abbrev=False, **options)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            # Here, and not in the parser of the whole command, whose usage says nothing of the flags.
            flags = [flag for action in self._actions for flag in action.option_strings]
            first = unknown[0].partition("=")[0]
            hint = did_you_mean(first, flags) if first.startswith("-") else ""
            self.error(f"unrecognized arguments: {' '.join(unknown)}.{hint}")
        return found, unknown

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            known = [str(choice) for choice in action.choices]
            raise argparse.ArgumentError(
                action,
                f"invalid choice: {value!r} (choose from {', '.join(known)})."
                f"{did_you_mean(str(value), known)}",
            )

    def error(self, message: str) -> NoReturn:
        super().error(message.strip())


class Version(argparse.Action):
    """Prints the version, and those of what matters beside it, without importing any of it."""

    def __init__(self, option_strings: Any, dest: str, **options: Any) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, **options)

    def __call__(self, parser: Any, *_: Any) -> None:
        print(f"keras-sbn {__version__}")
        print(f"Python {platform.python_version()}, {platform.system()} {platform.machine()}")
        for name in _PACKAGES:
            with contextlib.suppress(metadata.PackageNotFoundError):
                print(f"{name} {metadata.version(name)}")
        parser.exit()


def complete(parser: argparse.ArgumentParser) -> None:
    """Answers a shell that asks for completions, with argcomplete; otherwise does nothing."""
    if "_ARGCOMPLETE" in os.environ:
        import argcomplete

        argcomplete.autocomplete(parser)
