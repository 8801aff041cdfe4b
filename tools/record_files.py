"""Keeps every `.tflite` file that the tests write, and compares those of two commits.

    python tools/record_files.py record out/files/before [pytest arguments]
    python tools/record_files.py compare out/files/before out/files/after
    python tools/record_files.py commits HEAD~3 HEAD [pytest arguments]

A change of structure leaves every file as it was, byte for byte: `commits` checks two commits out, runs
the tests of each and says which tests write other files. The exit code is 1 where one does.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parent.parent
#: Where the plugin writes, told to the processes of the tests.
_FOLDER = "KERAS_SBN_RECORD"


class Recorder:
    """A pytest plugin: the files that each test writes, in order."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._test = "outside of a test"
        self._found: dict[str, list[str]] = defaultdict(list)

    def keep(self, content: bytes) -> None:
        """Stores one file under its digest."""
        digest = hashlib.sha256(content).hexdigest()
        path = self._folder / f"{digest}.tflite"
        if not path.exists():
            path.write_bytes(content)
        self._found[self._test].append(digest)

    def pytest_runtest_setup(self, item: Any) -> None:
        # Names that Keras counts up would differ with the order of the tests.
        import keras

        keras.utils.clear_session()
        self._test = item.nodeid

    def pytest_sessionfinish(self) -> None:
        name = os.environ.get("PYTEST_XDIST_WORKER", "main")
        (self._folder / f"{name}.json").write_text(json.dumps(self._found, indent=1))


def pytest_configure(config: Any) -> None:
    """Registers the recorder in a process of the tests."""
    folder = os.environ.get(_FOLDER)
    if folder is None or config.pluginmanager.has_plugin("recorder"):
        return
    import keras_sbn

    recorder = Recorder(Path(folder))
    config.pluginmanager.register(recorder, "recorder")
    kind: Any = keras_sbn.ConvertedModel
    make = kind.__init__

    def kept(self: Any, *args: Any, **kwargs: Any) -> None:
        make(self, *args, **kwargs)
        recorder.keep(self.content)

    kind.__init__ = kept


def record(folder: Path, arguments: list[str], root: Path = _ROOT) -> int:
    """Runs the tests of the checkout `root` and keeps the files they write in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [str(root), str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    environment = {
        **os.environ,
        _FOLDER: str(folder.resolve()),
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
    }
    command = [sys.executable, "-m", "pytest", "-p", "record_files", "-q", *arguments]
    return subprocess.run(command, cwd=root, env=environment, check=False).returncode


def read(folder: Path) -> dict[str, list[str]]:
    """Returns the digests of the files of every test."""
    found: dict[str, list[str]] = {}
    for path in sorted(folder.glob("*.json")):
        found.update(json.loads(path.read_text()))
    if not found:
        raise SystemExit(f"Expected a folder that `record` made. Received: {folder}")
    return found


def compare(before: Path, after: Path) -> int:
    """Prints which tests write other files, and returns the number of these tests."""
    old, new = read(before), read(after)
    both = sorted(old.keys() & new.keys())
    differing = [test for test in both if old[test] != new[test]]
    for test in differing:
        changed = sum(a != b for a, b in zip(old[test], new[test], strict=False))
        changed += abs(len(old[test]) - len(new[test]))
        print(f"{test}: {changed} of {len(old[test])} files differ")
    files = sum(len(old[test]) for test in both)
    print(f"{files} files of {len(both)} tests, {len(differing)} tests differ")
    for name, alone in (("before", old.keys() - new.keys()), ("after", new.keys() - old.keys())):
        print(f"{len(alone)} tests write files {name} alone")
    return len(differing)


def compare_commits(before: str, after: str, arguments: list[str]) -> int:
    """Checks two commits out, runs the tests of each, and compares the files."""
    with tempfile.TemporaryDirectory() as folder:
        recorded = []
        for name, commit in (("before", before), ("after", after)):
            tree, files = Path(folder) / name, Path(folder) / f"{name}_files"
            subprocess.run(
                ["git", "worktree", "add", "--detach", str(tree), commit], cwd=_ROOT, check=True
            )
            try:
                record(files, arguments, tree)
            finally:
                subprocess.run(["git", "worktree", "remove", "--force", str(tree)], cwd=_ROOT, check=True)
            recorded.append(files)
        return compare(*recorded)


def main() -> int:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=("record", "compare", "commits"))
    parser.add_argument("first", help="a folder, or the older commit")
    parser.add_argument("second", nargs="?", help="a folder, or the newer commit")
    given, arguments = parser.parse_known_args()
    if given.what == "record":
        return record(Path(given.first), [*([given.second] if given.second else []), *arguments])
    if given.second is None:
        parser.error(f"Expected two arguments of `{given.what}`. Received: one")
    if given.what == "compare":
        return min(compare(Path(given.first), Path(given.second)), 1)
    return min(compare_commits(given.first, given.second, arguments), 1)


if __name__ == "__main__":
    sys.exit(main())
