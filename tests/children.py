"""What child processes of the tests run: `tests/test_process.py`."""

import os
import sys


def echo(connection):
    while True:
        connection.send(connection.receive())


def where_from(connection):
    """Imports what the working directory has as well, and says from where."""
    import json
    import types

    import numpy

    connection.send([sys.path, json.__file__, types.__file__, numpy.__file__])


def prints(connection):
    os.write(1, b"a native library prints")
    print("and Python")
    connection.send(1)


class Hostile:
    def __reduce__(self):
        return os.system, ("touch hostile",)


def answers_with_code(connection):
    connection.send(Hostile())


def fails(connection):
    connection.fail({"ValueError": ValueError, "KeyError": KeyError}[connection.receive()]("a reason"))


def reads_address_zero(connection):
    import ctypes

    print("about to read", file=sys.stderr)
    ctypes.string_at(0)


def leaves(connection):
    sys.exit(3)
