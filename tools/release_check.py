"""Builds wheel and sdist, installs each in an environment of its own, and runs the quickstart there.

    make release-check

What is checked, outside the source tree, so that nothing is found that is not in the distribution:

- wheel and sdist build, and the wheel is built from the sdist;
- each installs in an empty environment with the extras that the quickstart needs, without conflicts;
- mypy sees the types of the package in a script outside it, and refuses a wrong argument (`py.typed`);
- the quickstart of the examples trains, converts and verifies, and `keras-sbn inspect` reads its file;
- the pages that messages point to are in it, and `python -m keras_sbn` names the version.

Needs nothing but the standard library; the environments are in out/release.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).parent.parent
OUT = ROOT / "out" / "release"

#: A script of a user: mypy has to know these types from the package alone.
_RIGHT = """
from typing_extensions import assert_type

import keras_sbn
from keras_sbn.conversion.converted import ConvertedModel
from keras_sbn.training import TrainSettings

assert_type(keras_sbn.ConvertedModel.load("model.tflite"), ConvertedModel)
assert_type(TrainSettings(model="resnet20").epochs, int)
assert_type(keras_sbn.schedules.Exponential(1.0, 100.0)(0.5), float)
"""
_WRONG = """
from keras_sbn.training import TrainSettings

TrainSettings(epochs="many")
"""

_PAGES = """
import sys
from pathlib import Path
from keras_sbn.documentation import page
for name in ("index", "devices", "troubleshooting", "accuracy", "android", "raspberry_pi", "web"):
    found = Path(page(name))
    assert found.is_relative_to(sys.prefix) and "--8<--" not in found.read_text(encoding="utf-8"), found
print("pages found")
"""


def build(out: Path) -> dict[str, Path]:
    """Builds the sdist and, from it, the wheel, and returns their paths."""
    python = environment(out / "build")
    run(python, "-m", "pip", "install", "--quiet", "build")
    dist = out / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    run(python, "-m", "build", "--outdir", str(dist), str(ROOT))
    (wheel,), (sdist,) = dist.glob("*.whl"), dist.glob("*.tar.gz")
    return {"wheel": wheel, "sdist": sdist}


def check(folder: Path, path: Path, extras: str, epochs: int) -> None:
    """Installs a distribution in an empty environment, and goes through it as a user would."""
    python = environment(folder)
    run(python, "-m", "pip", "install", "--quiet", f"{path}[{extras}]", "mypy>=1.11")
    run(python, "-m", "pip", "check")
    use(python, epochs)
    print(f"{path.name} installs and passes the quickstart", flush=True)


def use(python: Path, epochs: int) -> None:
    """Runs the quickstart and mypy with what is installed in an environment, in an empty folder."""
    with tempfile.TemporaryDirectory() as temporary:
        where = Path(temporary)
        found = run(python, "-c", "import keras_sbn; print(keras_sbn.__file__)", cwd=where)
        # Native libraries write lines of their own before it.
        if not Path(found.splitlines()[-1]).is_relative_to(python.parent.parent):
            raise SystemExit(f"Expected the package of the environment. Received: {found}")
        (where / "right.py").write_text(_RIGHT, encoding="utf-8")
        (where / "wrong.py").write_text(_WRONG, encoding="utf-8")
        run(python, "-m", "mypy", "--strict", "right.py", cwd=where)
        refused = run(python, "-m", "mypy", "--strict", "wrong.py", cwd=where, code=1)
        if 'incompatible type "str"; expected "int"' not in refused:
            raise SystemExit(f"Expected mypy to refuse a wrong type. Received: {refused}")
        shutil.copy(ROOT / "examples" / "quickstart.py", where)
        printed = run(python, "quickstart.py", "--epochs", str(epochs), cwd=where)
        if "360 samples: 0 decisions differ" not in printed:
            raise SystemExit(f"Expected a file that decides as the model does. Received:\n{printed}")
        pages = run(python, "-c", _PAGES, cwd=where)
        if pages.splitlines()[-1:] != ["pages found"]:
            raise SystemExit(f"Expected the pages of the documentation in it. Received: {pages}")
        if not run(python, "-m", "keras_sbn", "--version", cwd=where).startswith("keras-sbn "):
            raise SystemExit("Expected the command to name its version")
        command = python.with_name("keras-sbn")
        run(command, "inspect", "quickstart.tflite", cwd=where)


def environment(folder: Path) -> Path:
    """Makes an empty virtual environment, and returns its Python."""
    venv.create(folder, clear=True, with_pip=True, symlinks=os.name != "nt")
    return folder / ("Scripts" if os.name == "nt" else "bin") / "python"


def run(*command: str | Path, cwd: Path = ROOT, code: int = 0) -> str:
    """Runs a command away from the paths of the source tree, and returns what it printed.

    Raises:
        SystemExit: If it ends with another code than `code`; the message has what it printed.
    """
    hidden = ("PYTHONPATH", "PYTHONHOME", "MYPYPATH", "VIRTUAL_ENV")
    variables = {name: value for name, value in os.environ.items() if name not in hidden}
    variables.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # The default of `--extras`; with others name their backend.
    variables.setdefault("KERAS_BACKEND", "jax")
    print("$", *(str(part) for part in command if "\n" not in str(part)), flush=True)
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
    )
    if done.returncode != code:
        raise SystemExit(f"Expected exit code {code}. Received: {done.returncode}\n{done.stdout}")
    return done.stdout


def main() -> None:
    """Builds and checks."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=("wheel", "sdist"), help="check one of the two")
    parser.add_argument(
        "--extras", default="jax,convert,digits", help="what to install (default: %(default)s)"
    )
    parser.add_argument("--epochs", type=int, default=20, help="of the quickstart")
    parser.add_argument("--out", type=Path, default=OUT, help="folder of environments and distributions")
    options = parser.parse_args()
    out = options.out.absolute()
    for name, path in build(out).items():
        if options.only in (None, name):
            check(out / name, path, options.extras, options.epochs)


if __name__ == "__main__":
    main()
