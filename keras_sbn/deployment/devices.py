"""Devices that run programs for us: Android phones through adb, others through ssh."""

from __future__ import annotations

import os
import re
import secrets
import shlex
import shutil
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

_TOOLS = {
    "adb": "apt-get install adb, or the platform tools of the Android SDK",
    "ssh": "apt-get install openssh-client",
    "scp": "apt-get install openssh-client",
}

#: What ssh and scp take for a host and for nothing else.
_HOST = re.compile(r"([\w.+][\w.+-]*@)?[\w.+:][\w.+:%-]*")


class DeviceError(RuntimeError):
    """A device or a program to reach it is not there; the message says which, and what to do."""


class Device(ABC):
    """A device, and a folder of our own on it."""

    def __init__(self) -> None:
        self.folder = self._make_folder()

    @abstractmethod
    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        """Runs a line of the device's shell."""

    @abstractmethod
    def push(self, path: Path, name: str) -> None:
        """Copies a file into the folder.

        Raises:
            DeviceError: If it cannot be copied.
        """

    @abstractmethod
    def _make_folder(self) -> str:
        """Makes the folder and returns its path."""

    def machine(self) -> str:
        """The processor, as `uname -m` names it."""
        return self.run("uname -m").stdout.strip()

    def remove_folder(self) -> None:
        """Removes the folder and all in it."""
        self.run(f"rm -rf {shlex.quote(self.folder)}")


class AdbDevice(Device):
    """An Android device that adb reaches.

    Args:
        serial: Its serial number, as `adb devices` lists it; not needed where there is one device.

    Raises:
        DeviceError: If there is no adb, no such device, or it is not ready.
    """

    def __init__(self, serial: str | None = None) -> None:
        _require("adb")
        self._serial = _chosen(_listed(_call(["adb", "devices"]).stdout), serial)
        super().__init__()

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        return _call(["adb", "-s", self._serial, "shell", command])

    def push(self, path: Path, name: str) -> None:
        source = os.path.abspath(path)
        done = _call(["adb", "-s", self._serial, "push", source, f"{self.folder}/{name}"])
        if done.returncode:
            raise DeviceError(f"Expected {path} to be copied to {self._serial}. Received: {_end(done)}")

    def _make_folder(self) -> str:
        # The one place on a phone where programs pushed by adb may run.
        folder = f"/data/local/tmp/keras_sbn_{secrets.token_hex(4)}"
        done = self.run(f"mkdir {folder}")
        if done.returncode:
            raise DeviceError(f"Expected to make {folder} on {self._serial}. Received: {_end(done)}")
        return folder


class SshDevice(Device):
    """A device that ssh reaches without asking for a password.

    Args:
        host: As ssh takes it: a name, `user@name`, or an entry of its configuration.

    Raises:
        DeviceError: If there is no ssh or scp, or the host does not let us in.
    """

    def __init__(self, host: str) -> None:
        if not _HOST.fullmatch(host):
            raise DeviceError(
                "Expected a host such as pi@raspberrypi: letters, digits and any of . _ + : % -, which "
                f"does not begin with -. Received: {host!r}"
            )
        _require("ssh")
        _require("scp")
        self._host = host
        super().__init__()

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        return _call(["ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "--", self._host, command])

    def push(self, path: Path, name: str) -> None:
        # To scp a path with a colon before the first slash is one of another host.
        source = os.path.abspath(path)
        user, at, host = self._host.rpartition("@")
        if ":" in host:  # An address of IPv6.
            host = f"[{host}]"
        place = f"{user}{at}{host}:{self.folder}/{name}"
        done = _call(["scp", "-q", "-o", "BatchMode=yes", "--", source, place])
        if done.returncode:
            raise DeviceError(f"Expected {path} to be copied to {self._host}. Received: {_end(done)}")

    def _make_folder(self) -> str:
        done = self.run("mktemp -d")
        if done.returncode:
            raise DeviceError(
                f"Expected `ssh {self._host}` to work without a password. Received: {_end(done)}. Turn "
                f"the device on, check its name, and give it your key: ssh-copy-id {self._host}"
            )
        folder = done.stdout.strip()
        # Some versions of scp let the other side's shell read the path: it needs no quotes.
        if not re.fullmatch(r"/[\w./-]+", folder, re.ASCII):
            raise DeviceError(
                f"Expected `ssh {self._host} mktemp -d` to print a folder and nothing else. Received: "
                f"{folder[:200]!r}. A start-up file of its shell may print more"
            )
        return folder


def _listed(text: str) -> dict[str, str]:
    """Serial numbers and states, from what `adb devices` prints."""
    rows = [line.split() for line in text.splitlines()]
    return {row[0]: row[1] for row in rows if len(row) >= 2 and row[0] not in ("List", "*")}


def _chosen(devices: dict[str, str], serial: str | None) -> str:
    shown = ", ".join(f"{name} ({state})" for name, state in devices.items()) or "none"
    if not devices:
        raise DeviceError(
            "Expected an Android device. Received: none (adb devices). Connect one by USB with USB "
            "debugging turned on in its developer options, or `adb connect HOST`"
        )
    if serial is None and len(devices) > 1:
        raise DeviceError(f"Expected one Android device, or --serial. Received: {shown}")
    name = next(iter(devices)) if serial is None else serial
    if name not in devices:
        raise DeviceError(f"Expected the serial number of a device. Received: {name}; there are: {shown}")
    if devices[name] != "device":
        raise DeviceError(
            f"Expected a device that is ready. Received: {name} ({devices[name]}). Unlock it and allow "
            "USB debugging from this computer"
        )
    return name


def _require(tool: str) -> None:
    if shutil.which(tool) is None:
        raise DeviceError(f"Expected the program {tool}. It is not on the path: {_TOOLS[tool]}")


def _call(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False
    )


def _end(done: subprocess.CompletedProcess[str]) -> str:
    text = (done.stderr.strip() or done.stdout.strip()).splitlines()
    return text[-1].rstrip(".") if text else f"exit code {done.returncode}"
