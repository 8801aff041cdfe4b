"""Entry point of the `keras-sbn` command: loads Keras without its backend's start-up messages.

It lies outside the package because importing anything inside `keras_sbn` loads Keras first.
"""

from __future__ import annotations

import importlib
import os
import sys
import tempfile


def main() -> int:
    """Imports the package quietly and runs its command line."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    _import_quietly("keras_sbn")
    from keras_sbn.cli import main as run

    return run()


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
