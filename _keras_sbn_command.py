"""Entry point of the `keras-sbn` command: loads Keras without its backend's start-up messages.

It lies outside the package because importing anything inside `keras_sbn` loads Keras first.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path


def main() -> int:
    """Imports the package quietly and runs its command line."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    backend = wanted_backend(sys.argv[1:])
    if backend is not None:
        os.environ["KERAS_BACKEND"] = backend
    _import_quietly("keras_sbn")
    from keras_sbn.cli import main as run

    return run()


def wanted_backend(arguments: Sequence[str]) -> str | None:
    """The backend that `keras-sbn train` is asked for, which has to be known before Keras is imported.

    It stands in `--backend`, or in the settings: the file of `--config`, or, of a run that is resumed,
    the `run.toml` in `--out`. A name that is none is left to the command itself.
    """
    if not arguments or arguments[0] != "train":
        return None
    given = dict[str, str]()
    for index, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if not equals and index + 1 < len(arguments):
            value = arguments[index + 1]
        given[name] = value
    backend, path = given.get("--backend"), given.get("--config")
    if path is None and "--resume" in arguments:
        path = str(Path(given.get("--out", "runs/train")) / "run.toml")
    if backend is None and path is not None and Path(path).is_file():
        text = Path(path).read_text(encoding="utf-8", errors="replace")
        found = re.search(r"""^backend *= *["']([a-z]+)["']""", text, re.MULTILINE)
        backend = found and found[1]
    return backend if backend in ("tensorflow", "jax", "torch") else None


def _import_quietly(name: str) -> None:
    """Imports a module; what native libraries write to standard error is shown only if that fails."""
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as kept:
        os.dup2(kept.fileno(), 2)
        try:
            importlib.import_module(name)
        except BaseException:
            kept.seek(0)
            os.write(saved, kept.read())
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)


if __name__ == "__main__":
    sys.exit(main())
