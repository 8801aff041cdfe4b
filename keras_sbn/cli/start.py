"""Importing Keras for a subcommand: on the backend asked for, without its start-up messages."""

from __future__ import annotations

import os
import sys
import tempfile

from keras_sbn import backend


def start_keras(wanted: str | None = None, source: str = "--backend") -> None:
    """Imports Keras and the package on a backend; one that is imported already stays.

    Args:
        wanted: Name of the backend, or `None` for the configured one.
        source: Where it stands, for the message.

    Raises:
        ImportError: If it is not installed.
        ValueError: If it is no backend.
    """
    if "keras" in sys.modules:
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    backend.choose(wanted, source)
    _import_quietly()


def _import_quietly() -> None:
    """Imports; what native libraries write to standard error is shown only if that fails."""
    import keras_sbn

    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as kept:
        os.dup2(kept.fileno(), 2)
        try:
            keras_sbn._import_training()
        except BaseException:
            kept.seek(0)
            os.write(saved, kept.read())
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)
