"""Compiles the library of kernels into the wheel.

A C compiler that is installed (`CC`, cc, gcc or clang) compiles for this machine; where there is none,
the one of the PyPI package `ziglang`, which is then a requirement of the build.
`SBN_KERNELS_TARGET=NAME`, a name of `TARGETS`, has ziglang compile for another machine.
"""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

#: Machines by name: zig's target, the wheel's platform tag, and the library's name.
TARGETS = {
    "linux-x86_64": ("x86_64-linux-gnu.2.17", "manylinux_2_17_x86_64", "libsbn_kernels.so"),
    "linux-aarch64": ("aarch64-linux-gnu.2.17", "manylinux_2_17_aarch64", "libsbn_kernels.so"),
    "musl-x86_64": ("x86_64-linux-musl", "musllinux_1_2_x86_64", "libsbn_kernels.so"),
    "musl-aarch64": ("aarch64-linux-musl", "musllinux_1_2_aarch64", "libsbn_kernels.so"),
    "macos-arm64": ("aarch64-macos.11.0", "macosx_11_0_arm64", "libsbn_kernels.dylib"),
    "macos-x86_64": ("x86_64-macos.11.0", "macosx_11_0_x86_64", "libsbn_kernels.dylib"),
    "windows-x86_64": ("x86_64-windows-gnu", "win_amd64", "sbn_kernels.dll"),
}
#: Multiplications and additions are rounded each, so they may not be contracted.
FLAGS = ("-std=c11", "-O3", "-g0", "-ffp-contract=off", "-fvisibility=hidden", "-shared")
_FOLDER = Path(__file__).parent
_TARGET = "SBN_KERNELS_TARGET"


def installed_compiler() -> list[str] | None:
    """Returns the command of an installed C compiler."""
    if os.environ.get("CC"):
        return shlex.split(os.environ["CC"])
    found = [path for name in ("cc", "gcc", "clang") if (path := shutil.which(name))]
    return found[:1] or None


def needs_zig() -> bool:
    """Whether ziglang compiles."""
    return bool(os.environ.get(_TARGET)) or installed_compiler() is None


def library_name() -> str:
    """Returns the name of a library of kernels on this machine."""
    return {"darwin": "libsbn_kernels.dylib", "win32": "sbn_kernels.dll"}.get(
        sys.platform, "libsbn_kernels.so"
    )


def this_machine() -> str:
    """Returns the name of this machine in `TARGETS`."""
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower(), platform.machine())
    if sys.platform == "darwin":
        return f"macos-{'arm64' if machine == 'aarch64' else machine}"
    if sys.platform == "win32":
        return f"windows-{machine}"
    is_musl = "musl" in (sysconfig.get_config_var("HOST_GNU_TYPE") or "")
    return f"{'musl' if is_musl else 'linux'}-{machine}"


def compile_library(out: Path, target: str | None = None, extra: tuple[str, ...] = ()) -> None:
    """Compiles the sources into the library `out`, for this machine or one of `TARGETS`."""
    sources = sorted(str(path) for path in (_FOLDER / "src").glob("*.c"))
    machine = target or this_machine()
    flags = [*FLAGS, *extra]
    if target is None and (compiler := installed_compiler()) is not None:
        command = compiler
    else:
        if machine not in TARGETS:
            raise ValueError(f"Expected one of {', '.join(TARGETS)}. Received: {_TARGET}={machine}")
        command = [
            sys.executable,
            "-m",
            "ziglang",
            "cc",
            "-target",
            TARGETS[machine][0],
            "-mcpu=baseline",
            "-s",
        ]
    if not machine.startswith("windows"):
        flags += ["-fPIC", "-lm", "-lpthread"]
    subprocess.run([*command, *flags, *sources, "-o", str(out)], check=True)
    for left in (out.with_suffix(".pdb"), out.with_suffix(".lib")):
        left.unlink(missing_ok=True)


class KernelsBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Puts the library beside the Python files."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        return ["ziglang>=0.13"] if self.target_name == "wheel" and needs_zig() else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if self.target_name != "wheel":
            return
        target = os.environ.get(_TARGET)
        if target:
            if target not in TARGETS:
                raise ValueError(f"Expected one of {', '.join(TARGETS)}. Received: {_TARGET}={target}")
            _, tag, name = TARGETS[target]
        else:
            tag = sysconfig.get_platform().replace("-", "_").replace(".", "_")
            name = library_name()
        # An editable install loads the library from the sources.
        out = _FOLDER / "keras_sbn_kernels" / name
        if target or version != "editable":
            out = Path(self.directory) / f"build-{tag}" / name
            out.parent.mkdir(parents=True, exist_ok=True)
        compile_library(out, target)
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{tag}"
        build_data["force_include"][str(out)] = f"keras_sbn_kernels/{name}"
