"""LiteRT.js, the TFLite runtime for browsers: the files of it that a page needs, from npm.

No file of it is part of this package. npm has two packages: `@litertjs/core`, with the runtime as
WebAssembly, and `@litertjs/wasm-utils`, which it loads that with. Of the four builds of the runtime a
page takes three: with threads, where the page's server allows them; without; and without relaxed SIMD,
for browsers that do not have it. The fourth is for WebGPU and WebNN, which may compute in float16.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

#: The version that is fetched, with which the page was tested.
VERSION = "2.5.3"

_SCOPE = "@litertjs"
_BUILDS = ("litert_wasm_internal", "litert_wasm_compat_internal", "litert_wasm_threaded_internal")
_FILES = {
    "core": (
        "package.json",
        "dist/index.js",
        *(f"wasm/{build}{suffix}" for build in _BUILDS for suffix in (".js", ".wasm")),
    ),
    "wasm-utils": ("package.json", "dist/index.js"),
}
#: Where they lie in a page.
LITERT_FILES = tuple(f"litert/{package}/{name}" for package, names in _FILES.items() for name in names)

_COMMAND = ("install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-save")
#: How long npm may take, in seconds.
_TIME = 600


def how_to_fetch(folder: str = "litert_js") -> str:
    """The command with which a person fetches LiteRT.js into a folder."""
    return f"npm install --prefix {folder} {_SCOPE}/core@{VERSION}"


def read_litert(folder: str | os.PathLike[str]) -> tuple[dict[str, bytes], str]:
    """Reads what a page needs of LiteRT.js.

    Args:
        folder: What npm installed it into (`--prefix`), or the `node_modules` in it.

    Returns:
        Contents by path in the page, and the version.

    Raises:
        OSError: If a file cannot be read.
        ValueError: If it is not there, or not whole.
    """
    path = Path(folder)
    scopes = [path / "node_modules" / _SCOPE, path / _SCOPE]
    scope = next((place for place in scopes if place.is_dir()), None)
    missing = [
        f"{package}/{name}"
        for package, names in _FILES.items()
        for name in names
        if scope is None or not (scope / package / name).is_file()
    ]
    if scope is None or missing:
        received = f"no {scopes[0]}" if scope is None else f"{scope} without {missing[0]}"
        raise ValueError(
            f"Expected a folder with LiteRT.js in it. Received: {received}. "
            f"`{how_to_fetch(str(path))}` puts it there"
        )
    version = _version(scope / "core/package.json")
    contents = {
        f"litert/{package}/{name}": (scope / package / name).read_bytes()
        for package, names in _FILES.items()
        for name in names
    }
    return contents, version


def _version(path: Path) -> str:
    try:
        described = json.loads(path.read_bytes())
        name, version = described["name"], described["version"]
    except (ValueError, KeyError, TypeError):
        name, version = None, None
    if name != f"{_SCOPE}/core" or not isinstance(version, str):
        raise ValueError(
            f"Expected the package.json of {_SCOPE}/core. Received: {path}, of something else"
        )
    return version


def fetch_litert() -> tuple[dict[str, bytes], str]:
    """Fetches LiteRT.js with npm, which keeps it for the next time, and reads it.

    Returns:
        As `read_litert`.

    Raises:
        ValueError: If there is no npm, or it fails; the message says how to do without.
    """
    npm = shutil.which("npm")
    way_out = (
        f"Where npm works, run `{how_to_fetch()}`, and give that folder: --litert litert_js. Node.js "
        "(nodejs.org) brings npm"
    )
    if npm is None:
        raise ValueError(
            f"Expected npm, which has LiteRT.js, the runtime of the page. Received: no npm. {way_out}"
        )
    with tempfile.TemporaryDirectory(prefix="keras_sbn_") as folder:
        command = [npm, *_COMMAND, "--prefix", folder, f"{_SCOPE}/core@{VERSION}"]
        try:
            # In that folder, so that no package and no .npmrc of the working directory takes part.
            done = subprocess.run(
                command, cwd=folder, capture_output=True, text=True, check=False, timeout=_TIME
            )
        except subprocess.TimeoutExpired as error:
            raise ValueError(
                f"Expected npm to fetch LiteRT.js {VERSION}. Received: nothing in {_TIME} s. {way_out}"
            ) from error
        if done.returncode:
            lines = (done.stderr or done.stdout).strip().splitlines()
            raise ValueError(
                f"Expected npm to fetch LiteRT.js {VERSION}. Received: exit code {done.returncode}, "
                f"{' / '.join(lines[:3]) or 'no message'}. {way_out}"
            )
        return read_litert(folder)
