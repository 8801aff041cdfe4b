"""The result of a conversion to C."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from keras_sbn.c_code.generate import CCode, generate
from keras_sbn.c_code.source import identifier
from keras_sbn.conversion.converted import ConvertedModel
from keras_sbn.files import write_atomically
from keras_sbn.tflite.metadata import read_metadata
from keras_sbn.tflite.reader import named


@dataclass(frozen=True, eq=False, repr=False)
class ConvertedC(ConvertedModel):
    """A network as one C99 header and one source, which need nothing else.

    The code allocates nothing, keeps its values in one static array, packs ±1 into words of 32 bits, and
    takes every decision of the hard model. Its function, `NAME_run(input, output)`, runs one sample; the
    header says what inputs and outputs are. `predict`, and with it `keras_sbn.verify`, compiles the code
    with the C compiler of this machine, or the one that the variable `CC` names, and runs it; converting
    and saving need no compiler.

    Attributes:
        content: The network as the bytes of a `.tflite` file, from whose operators the code is written.
            No runtime is meant to open it.

    Example:

    >>> model = keras.Sequential([keras.Input((32,)), keras_sbn.layers.SelfBinarizingDense(4)])
    >>> report = keras_sbn.binarize(model)
    >>> path = keras_sbn.convert(model, target="c").save("network.c")  # and network.h
    """

    def __post_init__(self) -> None:
        # Written once here, so that an operator without a C function is an error of the conversion.
        code = self.code()
        report = replace(
            self.report, file_bytes=code.constant_bytes, arena_bytes=code.arena_bytes, written="constants"
        )
        object.__setattr__(self, "report", report)

    @classmethod
    def load(cls, file: Any) -> ConvertedC:
        """Writes the C code of a `.tflite` file of any converter, Larq's among them.

        Args:
            file: Path, bytes or `ConvertedModel`, with the Larq Compute Engine's operators or without.

        Raises:
            OSError: If the file cannot be read.
            ValueError: If it is not a TFLite model, or damaged, or an operator has no C function; the
                message names it.
        """
        if isinstance(file, ConvertedC):
            return file
        found = ConvertedModel.load(file)
        with named(found):
            return cls(found.content, "c", found.report, found.input_names, found.output_names)

    def code(self, name: str = "network") -> CCode:
        """The code, with what it takes.

        Args:
            name: What the names begin with that other code sees; what is no letter, digit or underscore
                becomes an underscore.

        Returns:
            A `CCode` with `header`, `source`, `constant_bytes` and `arena_bytes`.
        """
        return generate(self.content, identifier(name), read_metadata(self.content).labels or ())

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes `NAME.c` and, beside it, `NAME.h`, whose function is `NAME_run`.

        Args:
            path: The source, with the suffix `.c`.

        Returns:
            The path of the source.

        Raises:
            OSError: If a file cannot be written.
            ValueError: If the path has another suffix, or a name that is not one in C.
        """
        source = Path(path)
        if source.suffix != ".c" or identifier(source.stem) != source.stem:
            raise ValueError(
                "Expected the path of a C source whose name is one in C, as network.c. Received: "
                f"{os.fspath(path)!r}"
            )
        code = self.code(source.stem)
        # The source last: where it is new, so is the header.
        write_atomically(source.with_suffix(".h"), code.header.encode())
        return write_atomically(source, code.source.encode())
