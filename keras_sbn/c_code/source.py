"""The text of the C code: constants, the functions that are called, and the calls in their order."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import numpy as np

from keras_sbn.c_code.loops import Axis, filled
from keras_sbn.c_code.memory import Memory
from keras_sbn.c_code.steps import Step, Steps
from keras_sbn.tflite.reader import TensorInfo

_C_TYPES = {"float32": "float", "int32": "uint32_t", "int8": "int8_t", "uint8": "uint8_t"}
_ARENA = {"float32": "arena.floats", "int32": "arena.words"}
_LINE = 100
#: Words that C or C++ or this code has for something else.
_RESERVED = frozenset(
    {
        *("arena", "asm", "auto", "bool", "break", "case", "catch", "char", "class", "const"),
        *("continue", "default", "delete", "do", "double", "else", "enum", "explicit", "export"),
        *("extern", "false", "float", "for", "friend", "goto", "if", "inline", "int", "long", "main"),
        *("mutable", "namespace", "new", "operator", "private", "protected", "public", "register"),
        *("restrict", "return", "short", "signed", "sizeof", "static", "struct", "switch", "template"),
        *("this", "throw", "true", "try", "typedef", "typename", "union", "unsigned", "using"),
        *("virtual", "void", "volatile", "while"),
    }
)


def identifier(name: str, taken: Sequence[str] = ()) -> str:
    """A name as C takes it, unlike those that are taken."""
    found = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_") or "value"
    if found[0].isdigit():
        found = f"_{found}"
    if found in _RESERVED:
        found += "_"
    number, plain = 1, found
    while found in taken:
        number += 1
        found = f"{plain}_{number}"
    return found


def plain(text: str) -> str:
    """A text for a comment, without what would end it or begin another, and in ASCII."""
    kept = "".join(char if char.isascii() and char.isprintable() else "_" for char in text)
    return re.sub(r"[*/\\]{2,}|\\", "_", kept)


@dataclass(frozen=True)
class Value:
    """An input or output of the C function.

    Attributes:
        name: Its name there.
        layer: Its name in the model.
        tensor: What it holds.
    """

    name: str
    layer: str
    tensor: TensorInfo

    @property
    def c_type(self) -> str:
        return _C_TYPES[self.tensor.dtype]


class Body:
    """The calls of one network, and the constants that they read.

    Args:
        steps: What is done.
        memory: Where values lie.
        inputs: The arguments of the function that are read.
        outputs: Those that are written.
    """

    def __init__(
        self, steps: Steps, memory: Memory, inputs: Sequence[Value], outputs: Sequence[Value]
    ) -> None:
        self.steps = steps
        self._memory, self._inputs, self._outputs = memory, inputs, outputs
        self._taken = ["arena", *(value.name for value in (*inputs, *outputs))]
        self._names: dict[tuple[str, bytes], str] = {}
        self.constants: list[str] = []
        self.constant_bytes = 0
        self.lines: list[str] = []

    # --- What calls are made of

    def call(self, function: str, *arguments: Any) -> None:
        """Adds a call."""
        text = f"    {function}({', '.join(map(str, arguments))});"
        self.lines += _wrapped(text)

    def remark(self, text: str) -> None:
        """Adds a comment."""
        self.lines += _wrapped(f"    /* {plain(text)} */")

    def pointer(self, tensor: TensorInfo, dtype: str = "", offset: int = 0) -> str:
        """Where a value begins, or its element `offset`; as another 8-bit type, if one is given."""
        wanted = dtype or tensor.dtype
        if tensor.bytes or id(tensor) in self.steps.constants:
            text, stored = self.array(tensor.name, self.steps.values(tensor)), tensor.dtype
        else:
            text, stored = self._place(tensor)
        if stored != wanted:
            const = "const " if wanted == "uint8" and text in self._input_names else ""
            text = f"({const}{_C_TYPES[wanted]} *){text if text.isidentifier() else f'({text})'}"
        return f"{text} + {offset}" if offset else text

    def output_name(self, number: int) -> str:
        """The argument that is an output."""
        return self._outputs[number].name

    def constant(self, tensor: TensorInfo) -> str:
        """The name of a constant, stored as it is in the file."""
        return self.array(tensor.name, _stored(tensor))

    def bits(self, tensor: TensorInfo) -> str:
        """The name of a constant of bits."""
        return self.array(tensor.name, _stored(tensor).view(np.uint32))

    def array(self, name: str, values: np.ndarray) -> str:
        """The name of an array of constants."""
        values = np.ascontiguousarray(values)
        key = (values.dtype.str, values.tobytes())
        if key not in self._names:
            found = self._names[key] = self._new_name(name)
            self.constant_bytes += values.nbytes
            kind = _CONSTANT_TYPES[values.dtype.name]
            self.constants.append(f"static const {kind} {found}[{values.size}] = {{")
            self.constants += _wrapped_values(values)
            self.constants.append("};")
        return self._names[key]

    def structure(self, kind: str, fields: tuple[Any, ...]) -> str:
        """A pointer to a constant structure."""
        text = _braces(fields)
        key = (kind, text.encode())
        if key not in self._names:
            found = self._names[key] = self._new_name(kind.removeprefix("sbn_"))
            self.constants += _wrapped(f"static const {kind} {found} = {text};")
        return f"&{self._names[key]}"

    def broadcast(self, axes: Sequence[Axis], step: Step) -> str:
        """Loops over pairs of values."""
        return self.structure(
            "sbn_broadcast", tuple(zip(*filled(axes, 4, step.output.name), strict=True))
        )

    def moves(self, axes: Sequence[Axis], run: int, step: Step) -> str:
        """Loops over runs of bytes."""
        loops = tuple(zip(*filled(axes, 5, step.output.name), strict=True))
        return self.structure("sbn_move", (*loops, run))

    @staticmethod
    def number(value: float) -> str:
        """A float as C writes it, with all its digits."""
        return _number(np.float32(value))

    # --- Names and places

    def _place(self, tensor: TensorInfo) -> tuple[str, str]:
        kind, number = self._memory.place(tensor)
        if kind == "input":
            return self._inputs[number].name, self._inputs[number].tensor.dtype
        if kind == "output":
            return self._outputs[number].name, self._outputs[number].tensor.dtype
        text = f"{_ARENA.get(tensor.dtype, 'arena.words')} + {number}"
        return text, tensor.dtype if tensor.dtype in _ARENA else "words"

    @property
    def _input_names(self) -> set[str]:
        return {value.name for value in self._inputs}

    def _new_name(self, name: str) -> str:
        found = identifier(name, self._taken)
        self._taken.append(found)
        return found


def _stored(tensor: TensorInfo) -> np.ndarray:
    found = tensor.values()
    if found is None:
        raise ValueError(f"Expected a constant. Received: {tensor.name!r}, which is computed.")
    return found


_CONSTANT_TYPES = {
    "float32": "float",
    "int32": "int32_t",
    "uint32": "uint32_t",
    "int8": "int8_t",
    "uint8": "uint8_t",
}


def _number(value: Any) -> str:
    if isinstance(value, np.floating):
        if np.isinf(value):
            return "HUGE_VALF" if value > 0 else "-HUGE_VALF"
        if np.isnan(value):
            raise ValueError("Expected constants that are numbers. Received: NaN.")
        text = np.format_float_scientific(value, unique=True, trim="0")
        plain = np.format_float_positional(value, unique=True, trim="0")
        return f"{min(plain, text, key=len)}f"
    if isinstance(value, np.unsignedinteger):
        return f"0x{int(value):08X}u"
    if int(value) == np.iinfo(np.int32).min:
        return "-2147483647 - 1"
    return str(int(value))


def _wrapped_values(values: np.ndarray) -> list[str]:
    lines, line = [], "   "
    for value in values.ravel():
        text = f" {_number(value)},"
        if len(line) + len(text) > _LINE:
            lines.append(line)
            line = "   "
        line += text
    return [*lines, line]


def _braces(fields: Sequence[Any]) -> str:
    parts = (_braces(field) if isinstance(field, tuple | list) else str(field) for field in fields)
    return f"{{{', '.join(parts)}}}"


def _wrapped(text: str) -> list[str]:
    """A statement on as many lines as it takes; broken after commas."""
    if len(text) <= _LINE:
        return [text]
    at = text.rfind(", ", 0, _LINE)
    if at < 0:
        return [text]
    return [text[: at + 1], *_wrapped(f"        {text[at + 2 :]}")]


# --- The functions that are called


@cache
def runtime() -> dict[str, str]:
    """The C functions and types, by name."""
    folder = resources.files("keras_sbn.c_code") / "runtime"
    found = {file.name: file for file in folder.iterdir() if file.name.endswith(".c")}
    return {name.removesuffix(".c"): file.read_text("utf-8") for name, file in sorted(found.items())}


def needed(text: str) -> list[str]:
    """The functions and types that a text uses, each behind those that it uses itself."""
    known, found = runtime(), list[str]()

    def add(name: str) -> None:
        if name in known and name not in found:
            for other in re.findall(r"\bsbn_\w+", known[name]):
                if other != name:
                    add(other)
            found.append(name)

    for name in re.findall(r"\bsbn_\w+", text):
        add(name)
    return found
