"""C programs of several networks: their inputs inside, their outputs printed, compared with Keras's."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keras_sbn.c_code.generate import CCode
from keras_sbn.c_code.interpreter import FLAGS

#: Nothing is let pass.
WARNINGS = ("-Wall", "-Wextra", "-Werror", "-pedantic")
_BARE = Path(__file__).parent / "c_code" / "cortex_m"


@dataclass(frozen=True, eq=False)
class Case:
    """A network, samples, and what the folded Keras model gives for them."""

    code: CCode
    inputs: list[np.ndarray]
    expected: list[np.ndarray]
    #: By how much outputs may differ, as a part of the largest, of networks with float layers; 0 asks for
    #: equal numbers.
    tolerance: float = 0.0


@dataclass(frozen=True)
class Platform:
    """Where a program runs: its compiler, with flags, and the command that starts it."""

    name: str
    compiler: str
    flags: tuple[str, ...]
    emulator: tuple[str, ...] = ()
    sources: tuple[Path, ...] = ()
    package: str = "gcc"

    def missing(self) -> str | None:
        """What is not installed, and the Debian packages that bring it."""
        wanted = (self.compiler, *self.emulator[:1])
        found = [name for name in wanted if shutil.which(name) is None]
        return f"{', '.join(found)}: apt-get install {self.package}" if found else None

    def build(self, sources: Sequence[Path], out: Path) -> None:
        command = [self.compiler, *FLAGS, *WARNINGS, *self.flags, *map(str, (*sources, *self.sources))]
        done = subprocess.run([*command, "-o", str(out), "-lm"], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]

    def run(self, program: Path) -> str:
        done = subprocess.run([*self.emulator, str(program)], capture_output=True, text=True, timeout=900)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout


SANITIZED = Platform(
    "x86, sanitized", "gcc", ("-O0", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
)
HOST = Platform("x86", "gcc", ("-O3",))
AARCH64 = Platform(
    "aarch64",
    "aarch64-linux-gnu-gcc",
    ("-static",),
    ("qemu-aarch64",),
    package="gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user",
)


def _cortex(name: str, processor: str, board: str, *flags: str) -> Platform:
    link = ("--specs=rdimon.specs", "-T", str(_BARE / "mps2.ld"), "-nostartfiles")
    return Platform(
        name,
        "arm-none-eabi-gcc",
        (f"-mcpu={processor}", "-mthumb", *flags, *link),
        (
            *("qemu-system-arm", "-M", board, "-nographic"),
            *("-semihosting-config", "enable=on,target=native", "-kernel"),
        ),
        (_BARE / "startup.c",),
        "gcc-arm-none-eabi libnewlib-arm-none-eabi qemu-system-arm",
    )


#: Without and with a floating-point unit.
CORTEX_M3 = _cortex("Cortex-M3", "cortex-m3", "mps2-an385")
CORTEX_M7 = _cortex("Cortex-M7", "cortex-m7", "mps2-an500", "-mfloat-abi=hard", "-mfpu=fpv5-sp-d16")

PLATFORMS = (SANITIZED, HOST, AARCH64, CORTEX_M3, CORTEX_M7)

_C_TYPES = {"float32": "float", "uint8": "uint8_t", "int8": "int8_t", "uint32": "uint32_t"}


def run_cases(platform: Platform, cases: Sequence[Case], folder: Path) -> list[list[np.ndarray]]:
    """Compiles one program of all cases, runs it, and returns the outputs of each."""
    folder.mkdir(parents=True, exist_ok=True)
    sources = [_write(folder, "main.c", _main(cases))]
    for case in cases:
        _write(folder, f"{case.code.name}.h", case.code.header)
        sources.append(_write(folder, f"{case.code.name}.c", case.code.source))
    program = folder / f"program_{''.join(filter(str.isalnum, platform.name))}"
    platform.build(sources, program)
    lines = iter(platform.run(program).split())
    found = []
    for case in cases:
        samples = [
            [np.frombuffer(bytes.fromhex(next(lines)), array.dtype) for array in case.expected]
            for _ in range(len(case.inputs[0]))
        ]
        parts = zip(*samples, strict=True)
        pairs = zip(parts, case.expected, strict=True)
        found.append([np.stack(part).reshape(array.shape) for part, array in pairs])
    assert next(lines, None) == "done"
    return found


def compare(
    cases: Sequence[Case],
    received: Sequence[Sequence[np.ndarray]],
    where: str,
) -> int:
    """Asserts that outputs equal Keras's, and returns how many numbers were compared."""
    count = 0
    for case, outputs in zip(cases, received, strict=True):
        for a, b in zip(outputs, case.expected, strict=True):
            message = f"{case.code.name} on {where}"
            near = case.tolerance * max(1.0, float(np.abs(b).max()))
            np.testing.assert_allclose(a, b, rtol=case.tolerance, atol=near, err_msg=message)
            count += a.size
    return count


def _write(folder: Path, name: str, text: str) -> Path:
    (folder / name).write_text(text)
    return folder / name


def _main(cases: Sequence[Case]) -> str:
    """Runs every sample of every case; the outputs are printed as the bytes they are."""
    lines = ["#include <stdio.h>", "#include <stdint.h>"]
    lines += [f'#include "{case.code.name}.h"' for case in cases]
    lines += [
        "static void show(const void *values, unsigned long bytes)",
        "{",
        "    for (unsigned long i = 0; i < bytes; i++)",
        '        printf("%02x", ((const unsigned char *)values)[i]);',
        r"    putchar('\n');",
        "}",
    ]
    calls = []
    for number, case in enumerate(cases):
        count = len(case.inputs[0])
        arguments = []
        for place, array in enumerate(case.inputs):
            name, size = f"x{number}_{place}", array[0].size
            # As bytes, whose values no compiler rounds; aligned for what they are.
            data = ",".join(map(str, np.ascontiguousarray(array).view(np.uint8).ravel()))
            kind = _C_TYPES[array.dtype.name]
            lines.append(
                f"static const union {{ uint8_t bytes[{array.nbytes}]; {kind} values[{array.size}]; }}"
                f" {name} = {{{{{data}}}}};"
            )
            arguments.append(f"{name}.values + i * {size}")
        for place, array in enumerate(case.expected):
            lines.append(f"static {_C_TYPES[array.dtype.name]} y{number}_{place}[{array[0].size}];")
            arguments.append(f"y{number}_{place}")
        shows = [f"show(y{number}_{k}, sizeof y{number}_{k});" for k in range(len(case.expected))]
        calls.append(f"    for (int i = 0; i < {count}; i++) {{")
        calls += [
            f"        {case.code.name}_run({', '.join(arguments)});",
            *(f"        {s}" for s in shows),
        ]
        calls.append("    }")
    return "\n".join(
        [*lines, "int main(void)", "{", *calls, '    puts("done");', "    return 0;", "}", ""]
    )
