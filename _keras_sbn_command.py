"""Entry point of the `keras-sbn` command.

It lies outside the package, so that it can say that the command line starts before the package is
imported: `keras_sbn/__init__.py` then leaves Keras to the subcommand.
"""

from __future__ import annotations

#: Whether the command line is being imported.
starting = False


def main() -> int:
    """Runs the command line and returns its exit code."""
    global starting
    starting = True
    try:
        from keras_sbn.cli import command as run
    finally:
        starting = False
    return run()
