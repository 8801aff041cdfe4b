"""The versions we promise to run with, each in an environment of its own: `nox`, or `make test-matrix`.

    nox --list
    nox --session 'test(oldest)' -- tests/conversion

A row needs its Python on the PATH. Packages come from where pip is told to take them; TORCH, such as
TORCH='torch==2.13.0', asks for one PyTorch, for whose CPU alone there may be a smaller build.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import nox

nox.options.sessions = ["test"]
nox.options.reuse_existing_virtualenvs = True
nox.options.error_on_missing_interpreters = True


@dataclass(frozen=True)
class Row:
    """One set of versions, and the backend of Keras it is tested on."""

    python: str
    requirements: tuple[str, ...]
    extras: str = "convert,lce,plot,datasets"
    backend: str = "tensorflow"
    kernels: bool = True


# The oldest row has no LiteRT, and so no kernels.
ROWS = {
    "oldest": Row(
        "3.10",
        ("tensorflow==2.16.*", "keras==3.4.1", "numpy==1.26.*"),
        "lce,plot,datasets",
        kernels=False,
    ),
    "middle": Row("3.11", ("tensorflow==2.19.*", "keras"), "convert,lce,plot,datasets,larq"),
    "newest": Row("3.12", ("tensorflow==2.21.*", "keras")),
    # NumPy 2, and neither TensorFlow nor the Larq Compute Engine, as on Debian 13 and with later Pythons:
    # one-bit files run in keras-sbn-kernels there.
    "jax-3.13": Row("3.13", ("keras", "numpy>=2"), "jax,convert,images,digits,plot", "jax"),
    "jax-3.14": Row("3.14", ("keras", "numpy>=2"), "jax,convert,images,digits,plot", "jax"),
    "torch": Row(
        "3.11",
        ("keras", "numpy>=2", os.environ.get("TORCH", "torch>=2.4")),
        "convert,images,digits,plot",
        "torch",
    ),
}
# scikit-learn has the digits; tensorflow-datasets is not needed for them.
TOOLS = (
    "argcomplete>=3",
    "hypothesis>=6.100",
    "jax>=0.4.30",
    "latex2mathml>=3.77",
    "pytest>=8",
    "pytest-xdist>=3.6",
    "scikit-learn",
)


@nox.session
@nox.parametrize("python,row", [nox.param(row.python, name, id=name) for name, row in ROWS.items()])
def test(session: nox.Session, row: str) -> None:
    """Runs the tests of one row; arguments after `--` go to pytest."""
    wanted = ROWS[row]
    session.install("--editable", f".[{wanted.extras}]", *wanted.requirements, *TOOLS)
    if wanted.kernels:
        session.install("./kernels")
    session.run("python", "-m", "pip", "list")
    chosen = () if wanted.backend == "tensorflow" else ("-m", "not tensorflow")
    environment = {"KERAS_BACKEND": wanted.backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    if wanted.backend == "jax":
        environment["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
    session.run("python", "-m", "pytest", "-n", "2", *chosen, *session.posargs, env=environment)
