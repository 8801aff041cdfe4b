"""From the bytes of a file to a C99 header and source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from keras_sbn.c_code.functions import write, write_copy
from keras_sbn.c_code.memory import Memory, elements
from keras_sbn.c_code.source import Body, Value, identifier, needed, plain, runtime
from keras_sbn.c_code.steps import steps_of
from keras_sbn.tflite.reader import TensorInfo, read_file
from keras_sbn.version import __version__


@dataclass(frozen=True)
class CCode:
    """C code of a network.

    Attributes:
        name: What its function and its header begin with.
        header: The text of the header.
        source: The text of the source; it includes the header, and nothing else but headers of C99.
        constant_bytes: Bytes of its constants, which lie in flash.
        arena_bytes: Bytes of its static array, which lies in RAM. Inputs and outputs are the caller's.
        calls: The C functions that it has, in alphabetical order.
    """

    name: str
    header: str
    source: str
    constant_bytes: int
    arena_bytes: int
    calls: tuple[str, ...]


def generate(content: bytes, name: str, labels: Sequence[str] = ()) -> CCode:
    """Writes the C code of a file.

    Args:
        content: The bytes of a `.tflite` file with operators of the Larq Compute Engine, or without.
        name: What the names begin with that other code sees; letters, digits and underscores.
        labels: Names of the classes, in the order of the output.

    Raises:
        ValueError: If an operator has no C function; the message names it and what it writes.
    """
    info = read_file(content)
    steps = steps_of(info)
    memory = Memory(steps)
    taken: list[str] = []
    inputs = _values("input", info.input_names, info.inputs, taken)
    outputs = _values("output", info.output_names, info.outputs, taken)
    body = Body(steps, memory, inputs, outputs)
    for step in steps.steps:
        sizes = " x ".join(map(str, step.output.shape[1:]))
        body.remark(f"{step.output.name}: {step.name}, {sizes}")
        write(body, step)
    for tensor, number in memory.copies:
        write_copy(body, tensor, number)
    prototype = _prototype(name, inputs, outputs)
    functions = needed("\n".join(body.lines + body.constants))
    return CCode(
        name,
        _header(name, prototype, inputs, outputs, labels, 4 * memory.words, body.constant_bytes),
        _source(name, prototype, body, memory.words, functions, labels),
        body.constant_bytes,
        4 * memory.words,
        tuple(sorted(functions)),
    )


def _values(
    alone: str, names: Sequence[str], tensors: Sequence[TensorInfo], taken: list[str]
) -> list[Value]:
    """The arguments for inputs or outputs: one has a name that every network has, several their own."""
    found = []
    for name, tensor in zip(names, tensors, strict=True):
        own = identifier(name if len(names) > 1 else alone, taken)
        taken.append(own)
        found.append(Value(own, name, tensor))
    return found


def _prototype(name: str, inputs: Sequence[Value], outputs: Sequence[Value]) -> str:
    arguments = [f"const {value.c_type} *{value.name}" for value in inputs]
    arguments += [f"{value.c_type} *{value.name}" for value in outputs]
    return f"void {name}_run({', '.join(arguments)})"


def _described(value: Value) -> str:
    tensor = value.tensor
    sizes = " x ".join(map(str, tensor.shape[1:]))
    text = f" * {value.name}: {plain(value.layer)} of the model, {sizes}, {value.c_type}"
    if len(tensor.scales) == len(tensor.zero_points) == 1 and tensor.dtype != "int32":
        text += f", which stands for {tensor.scales[0]:.9g} * (value - {tensor.zero_points[0]})"
    return text


def _header(
    name: str,
    prototype: str,
    inputs: Sequence[Value],
    outputs: Sequence[Value],
    labels: Sequence[str],
    arena_bytes: int,
    constant_bytes: int,
) -> str:
    guard = f"{name.upper()}_H"
    sizes = [
        f"#define {name.upper()}_{value.name.upper()}_SIZE {elements(value.tensor)}"
        for value in (*inputs, *outputs)
    ]
    lines = [
        f"/* Written by keras_sbn {__version__}. C99, no allocation, no other library.",
        f" * {constant_bytes} bytes of constants, {arena_bytes} bytes of static memory, beside inputs",
        " * and outputs, which are the caller's. Not for two threads at once. */",
        f"#ifndef {guard}",
        f"#define {guard}",
        "",
        "#include <stdint.h>",
        "",
        "#ifdef __cplusplus",
        'extern "C" {',
        "#endif",
        "",
        *sizes,
        "",
        "/* Runs the network on one sample; channels last.",
        *map(_described, (*inputs, *outputs)),
        " */",
        f"{prototype};",
        "",
    ]
    if labels:
        lines += [
            "/* Names of the classes, in the order of the output. */",
            f"extern const char *const {name}_labels[{len(labels)}];",
            "",
        ]
    lines += ["#ifdef __cplusplus", "}", "#endif", "", "#endif", ""]
    return "\n".join(lines)


def _source(
    name: str,
    prototype: str,
    body: Body,
    words: int,
    functions: Sequence[str],
    labels: Sequence[str],
) -> str:
    lines = [f"/* Written by keras_sbn {__version__}. */", f'#include "{name}.h"', ""]
    parts = [runtime()[function].rstrip() for function in functions]
    if "f(" in "".join(parts) or "HUGE_VALF" in "".join((*body.lines, *body.constants)):
        lines += ["#include <math.h>", ""]
    for part in parts:
        lines += [part, ""]
    lines += [*body.constants, ""]
    if labels:
        lines.append(f"const char *const {name}_labels[{len(labels)}] = {{")
        lines += [f"    {_quoted(label)}," for label in labels]
        lines += ["};", ""]
    if words:
        lines += [
            "static union {",
            f"    float floats[{words}];",
            f"    uint32_t words[{words}];",
            "} arena;",
            "",
        ]
    return "\n".join([*lines, prototype, "{", *body.lines, "}", ""])


def _quoted(text: str) -> str:
    """A string of C: bytes of UTF-8 beyond ASCII in octal, which no digit behind them makes longer."""
    plain = {ord('"'), ord("\\"), ord("?")}
    parts = [
        chr(byte) if 32 <= byte < 127 and byte not in plain else f"\\{byte:03o}"
        for byte in text.encode("utf-8")
    ]
    return f'"{"".join(parts)}"'
