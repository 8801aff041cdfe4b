"""Makes a 64-bit ARM Linux of its own in a folder: Python, NumPy, LiteRT, and the emulator to run them.

Debian's packages are fetched by this machine's own apt, from the sources it is set up with, with lists
and a cache of their own, and unpacked by dpkg-deb; the wheels are PyPI's for aarch64. Nothing is
installed on this machine, nothing runs in a container, and no rights are needed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

_TOOLS = {"apt-get": "apt", "dpkg-deb": "dpkg"}
_EMULATORS = ("qemu-aarch64-static", "qemu-aarch64")
_WHEELS = ("ai-edge-litert", "numpy")
#: The C library that a wheel may ask for at most; Debian 12 has 2.36.
_PLATFORMS = ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux2014_aarch64")
#: What Linux on a Cortex-A53 of one core says of itself. The runtime looks the processor up in these
#: files; those of the machine below describe another.
_MACHINE = {
    "proc/cpuinfo": (
        "processor\t: 0\nBogoMIPS\t: 100.00\n"
        "Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid\n"
        "CPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x0\nCPU part\t: 0xd03\n"
        "CPU revision\t: 4\n\n"
    ),
    "sys/devices/system/cpu/possible": "0\n",
    "sys/devices/system/cpu/present": "0\n",
}


class MissingToolError(Exception):
    """A program is not there, or a download failed; the message says how to get it."""


@dataclass(frozen=True)
class ArmRoot:
    """A 64-bit ARM Linux that runs under emulation.

    Attributes:
        folder: Where it lies.
        emulator: qemu's user-mode emulator.
        python: Its Python.
        packages: Folder with the unpacked wheels.
    """

    folder: Path
    emulator: str
    python: Path
    packages: Path

    def command(self, cpu: str, arguments: Sequence[str]) -> list[str]:
        """The command line that runs Python as if on a processor that qemu knows by this name."""
        return [self.emulator, "-cpu", cpu, "-L", str(self.folder), str(self.python), *arguments]

    def run(self, cpu: str, arguments: Sequence[str]) -> str:
        """Runs Python there and returns what it prints.

        Raises:
            RuntimeError: If it fails; the message has the end of what it wrote.
        """
        done = subprocess.run(
            self.command(cpu, arguments),
            # -L shows the program this root's files in place of the machine's, but not its environment.
            env={"PYTHONPATH": str(self.packages), "PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(
                f"Python under emulation of {cpu} ended with {done.returncode}: {done.stderr[-2000:]}"
            )
        return done.stdout


def make_root(folder: Path, say: Callable[[str], None] = print) -> ArmRoot:
    """Makes the root, or returns the one that was made there before.

    Args:
        folder: Where; about 570 MB, most of it the emulators.
        say: Receives lines of progress.

    Raises:
        MissingToolError: If apt-get, dpkg-deb or a package cannot be had.
    """
    folder = folder.resolve()
    done = folder / "complete"
    if not done.exists():
        shutil.rmtree(folder, ignore_errors=True)
        say("fetching Python for 64-bit ARM from this machine's Debian sources")
        _unpack_debian(folder, ("python3", "libstdc++6"), "arm64", folder / "root")
        for name, text in _MACHINE.items():
            path = folder / "root" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        if not any(map(shutil.which, _EMULATORS)):
            say("fetching qemu-user-static")
            _unpack_debian(folder, ("qemu-user-static",), _architecture(), folder / "tools")
        version = (folder / "root/usr/bin/python3").readlink().name.removeprefix("python")
        say(f"fetching the wheels of {' and '.join(_WHEELS)} for aarch64 and Python {version}")
        _install_wheels(folder / "packages", version)
        done.touch()
    return ArmRoot(
        folder / "root", _emulator(folder), folder / "root/usr/bin/python3", folder / "packages"
    )


def _emulator(folder: Path) -> str:
    for name in _EMULATORS:
        found = shutil.which(name) or shutil.which(name, path=str(folder / "tools/usr/bin"))
        if found:
            return found
    raise MissingToolError("No emulator of 64-bit ARM: apt-get install qemu-user-static")


def _architecture() -> str:
    return _run(["dpkg", "--print-architecture"]).strip()


def _unpack_debian(folder: Path, packages: Sequence[str], architecture: str, into: Path) -> None:
    """Unpacks packages and all they depend on, as if for an empty machine of the architecture."""
    for tool, package in _TOOLS.items():
        if shutil.which(tool) is None:
            raise MissingToolError(
                f"No {tool}: this needs Debian 12 or later, or a relative, with {package}"
            )
    own = folder / f"apt-{architecture}"
    for name in ("state/lists/partial", "cache/archives/partial"):
        (own / name).mkdir(parents=True)
    (own / "status").touch()
    (own / "apt.conf").write_text(
        f'APT::Architecture "{architecture}";\n'
        f'APT::Architectures {{ "{architecture}"; }};\n'
        f'Dir::State "{own}/state";\n'
        f'Dir::State::status "{own}/status";\n'
        f'Dir::Cache "{own}/cache";\n'
        'APT::Install-Recommends "false";\n'
        'APT::Sandbox::User "";\n'
    )
    environment = {**os.environ, "APT_CONFIG": str(own / "apt.conf"), "DEBIAN_FRONTEND": "noninteractive"}
    _run(["apt-get", "update"], environment)
    _run(["apt-get", "install", "--yes", "--download-only", *packages], environment)
    into.mkdir(parents=True, exist_ok=True)
    for archive in sorted((own / "cache/archives").glob("*.deb")):
        _run(["dpkg-deb", "--extract", str(archive), str(into)])
    shutil.rmtree(own)


def _install_wheels(into: Path, version: str) -> None:
    platforms = [word for platform in _PLATFORMS for word in ("--platform", platform)]
    options = ["--quiet", "--only-binary=:all:", "--python-version", version, "--implementation", "cp"]
    pip = [sys.executable, "-m", "pip", "install", "--target", str(into)]
    _run([*pip, *options, *platforms, *_WHEELS])


def _run(command: Sequence[str], environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise MissingToolError(
            f"{' '.join(command[:3])} ... ended with {done.returncode}: {done.stderr.strip()[-1500:]}"
        )
    return done.stdout
