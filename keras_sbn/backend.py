"""The backend of Keras: which one is asked for, which are installed, and importing Keras with it."""

from __future__ import annotations

import importlib
import json
import os
from pathlib import Path

from keras_sbn.extras import BACKENDS, installed, installed_backends, remedy


def configured() -> str:
    """The backend that Keras takes when it is imported: of KERAS_BACKEND, else of keras.json."""
    if "KERAS_BACKEND" in os.environ:
        return os.environ["KERAS_BACKEND"]
    folder = os.environ.get("KERAS_HOME", Path.home() / ".keras")
    try:
        found = json.loads((Path(folder) / "keras.json").read_text(encoding="utf-8"))
        return str(found.get("backend", "tensorflow"))
    except (OSError, ValueError, AttributeError):
        return "tensorflow"


def choose(wanted: str | None = None, source: str = "--backend") -> None:
    """Sets KERAS_BACKEND, before Keras is imported.

    Args:
        wanted: The backend that is asked for; `None` takes the one that is configured, or, where nobody
            asked for it and it is not installed, the first that is.
        source: Where `wanted` stands, for the message.

    Raises:
        ImportError: If a backend that is asked for, or every one, is not installed.
        ValueError: If it is none.
    """
    if wanted is None and "KERAS_BACKEND" in os.environ:
        wanted, source = os.environ["KERAS_BACKEND"], "KERAS_BACKEND"
        if wanted not in BACKENDS:
            return  # One that Keras knows and we do not, or an error that it explains.
    if wanted is None:
        if not installed(BACKENDS.get(configured(), "keras")):
            _require_one(installed_backends())
            os.environ["KERAS_BACKEND"] = installed_backends()[0]
        return
    if wanted not in BACKENDS:
        raise ValueError(f"Expected the backend tensorflow, jax or torch. Received: {source} {wanted}")
    if not installed(BACKENDS[wanted]):
        found = installed_backends()
        others = f" Installed: {', '.join(found)}." if found else ""
        raise ImportError(
            f"Expected a backend that is installed. Received: {source} {wanted}.{others} "
            f"{_sentence(remedy(wanted, 'take another backend'))}"
        )
    os.environ["KERAS_BACKEND"] = wanted


def import_keras() -> None:
    """Imports Keras.

    Raises:
        ImportError: If it or its backend is not installed; the message says what is.
    """
    try:
        importlib.import_module("keras")
    except ImportError as error:
        wanted = configured()
        if wanted not in BACKENDS or installed(BACKENDS[wanted]):
            raise
        found = installed_backends()
        _require_one(found, error)
        raise ImportError(
            f"Expected a backend of Keras that is installed. Received: {wanted}. Installed: "
            f"{', '.join(found)}. Set KERAS_BACKEND={found[0]} before Keras is imported."
        ) from error


def _require_one(found: list[str], error: ImportError | None = None) -> None:
    if not found:
        raise ImportError(
            "Expected a backend of Keras, one of tensorflow, jax and torch. Received: none is installed. "
            f"{_sentence(remedy('jax'))}"
        ) from error


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] if not text.startswith("pip ") else text
