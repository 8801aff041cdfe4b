"""The command line starts without Keras, and imports it on the backend that it is asked for."""

import json
import os
import subprocess
import sys
import textwrap

import pytest
from small_models import LIGHT_BACKEND, ROOT

from keras_sbn import backend, extras

#: What the command line must not import before it needs it.
HEAVY = ("keras", "tensorflow", "jax", "torch", "sklearn", "matplotlib", "ai_edge_litert.interpreter")

#: Runs the command as its script does, and says what was imported.
SCRIPT = """
import sys, resource
from _keras_sbn_command import main
code = 0
try:
    code = main()
except SystemExit as stop:
    code = stop.code
used = resource.getrusage(resource.RUSAGE_SELF)
found = [name for name in {heavy!r} if name in sys.modules]
print(code, ",".join(found) or "nothing", used.ru_utime + used.ru_stime, file=sys.stderr)
"""


def run(*command, cwd=None, **variables):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3", **variables}
    return subprocess.run(
        [sys.executable, *map(str, command)], capture_output=True, text=True, env=environment, cwd=cwd
    )


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--help"], 0),
        (["--version"], 0),
        (["train", "--help"], 0),
        (["convert", "--help"], 0),
        (["deploy", "--help"], 0),
        (["trian"], 2),
        (["deploy", "android", "--model", "no.tflite", "--out", "app"], 2),
        (["inspect", "no.tflite"], 2),
    ],
    ids=lambda value: "-".join(value[:2]) if isinstance(value, list) else None,
)
def test_imports_nothing_heavy_and_starts_at_once(arguments, code, tmp_path):
    done = run("-c", SCRIPT.format(heavy=HEAVY), *arguments, cwd=tmp_path)
    ended, found, seconds = done.stderr.splitlines()[-1].split()
    assert (int(ended), found) == (code, "nothing")
    # Of the processor: what else the machine does counts for nothing. Keras alone takes more.
    assert float(seconds) < 0.5


def test_version_names_what_a_report_of_a_bug_needs():
    done = run("-m", "keras_sbn", "--version")
    assert done.stdout.startswith("keras-sbn 0.")
    assert "\nPython 3." in done.stdout
    assert "\nkeras 3." in done.stdout


def test_python_m_imports_keras_on_the_backend_of_the_command(tmp_path):
    """`python -m keras_sbn` imports the package before it runs the command."""
    (tmp_path / "sitecustomize.py").write_text(
        textwrap.dedent("""
            import sys
            class Finder:
                @staticmethod
                def find_spec(name, path, target=None):
                    if name == "keras_sbn.training.run":
                        sys.meta_path.remove(Finder)
                        import keras
                        print("backend", keras.backend.backend(), file=sys.stderr)
                        raise ValueError("enough")
            sys.meta_path.insert(0, Finder)
        """)
    )
    (tmp_path / "run.toml").write_text('backend = "jax"\n')
    paths = os.pathsep.join([str(tmp_path), str(ROOT)])
    script = ["-c", "import _keras_sbn_command as command; command.main()"]
    for start, arguments in (
        (["-m", "keras_sbn"], ["--backend", "jax"]),
        (script, ["--config", "run.toml"]),
        (script, ["--out", ".", "--resume"]),
    ):
        done = run(*start, "train", *arguments, cwd=tmp_path, PYTHONPATH=paths, KERAS_BACKEND="none")
        assert "backend jax" in done.stderr, done.stderr


@pytest.mark.parametrize("module", ["keras_sbn", "keras_sbn.layers"])
def test_importing_the_package_registers_its_layers(module):
    code = (
        f"import {module}, keras; "
        "print(keras.saving.get_registered_object('keras_sbn>SelfBinarizingDense'), "
        "keras.saving.get_registered_object('keras_sbn>Threshold'))"
    )
    assert run("-c", code, KERAS_BACKEND=LIGHT_BACKEND).stdout.count("<class 'keras_sbn.") == 2


def test_a_backend_that_is_not_installed_exits_with_2(tmp_path):
    missing = [name for name in extras.BACKENDS if name not in extras.installed_backends()]
    if not missing:
        pytest.skip("every backend is installed")
    (tmp_path / "run.toml").write_text(f'backend = "{missing[0]}"\n')
    out = ["--out", tmp_path / "x"]
    for arguments, source, variables in (
        (["--backend", missing[0]], "--backend", {}),
        (["--config", tmp_path / "run.toml"], "run.toml,", {}),
        ([], "KERAS_BACKEND", {"KERAS_BACKEND": missing[0]}),
    ):
        done = run("-m", "keras_sbn", "train", *out, *arguments, **variables)
        assert done.returncode == 2
        (line,) = done.stderr.splitlines()
        assert line.startswith("keras-sbn: Expected a backend that is installed. Received: ")
        assert f"{source} {missing[0]}. Installed: " in line
        assert extras.remedy(missing[0]).lower() in line.lower()
    assert not (tmp_path / "x").exists()


@pytest.fixture
def chosen(monkeypatch, tmp_path):
    """From what is configured and installed to the backend that is chosen."""

    def choose(installed, wanted=None, configured=None, variable=None):
        monkeypatch.setattr(backend, "installed", lambda name: name in installed)
        monkeypatch.setattr(backend, "installed_backends", lambda: list(installed))
        monkeypatch.setenv("KERAS_HOME", str(tmp_path))
        (tmp_path / "keras.json").unlink(missing_ok=True)
        if configured is not None:
            (tmp_path / "keras.json").write_text(json.dumps({"backend": configured}))
        monkeypatch.delenv("KERAS_BACKEND", raising=False)
        if variable is not None:
            monkeypatch.setenv("KERAS_BACKEND", variable)
        backend.choose(wanted)
        return backend.configured()

    return choose


def test_the_backend_that_is_asked_for_wins_and_one_that_nobody_asked_for_is_one_that_is_there(chosen):
    both = ("tensorflow", "jax")
    assert chosen(both) == "tensorflow"
    assert chosen(both, configured="jax") == "jax"
    assert chosen(both, configured="jax", variable="tensorflow") == "tensorflow"
    assert chosen(both, "jax", variable="tensorflow") == "jax"
    assert chosen(("jax",)) == "jax"
    assert chosen(("torch",), configured="tensorflow") == "torch"
    assert chosen((), variable="openvino") == "openvino"
    with pytest.raises(ImportError, match=r"Received: KERAS_BACKEND tensorflow\. Installed: jax"):
        chosen(("jax",), variable="tensorflow")
    with pytest.raises(ValueError, match="Received: --backend mxnet"):
        chosen(both, "mxnet")
    with pytest.raises(ImportError, match=r"none is installed. pip install 'keras-sbn\[jax\]'"):
        chosen(())


def test_keras_without_its_backend_is_an_error_that_says_what_to_set(chosen, monkeypatch):
    chosen(("jax",), "jax")
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")

    def fail(name):
        raise ModuleNotFoundError("No module named 'tensorflow'")

    monkeypatch.setattr(backend.importlib, "import_module", fail)
    with pytest.raises(
        ImportError, match=r"Received: tensorflow\. Installed: jax\. Set KERAS_BACKEND=jax"
    ):
        backend.import_keras()


def test_a_remedy_is_an_extra_that_this_python_has(monkeypatch):
    monkeypatch.setattr(extras.sys, "version_info", (3, 13, 1))
    monkeypatch.setattr(extras.platform, "machine", lambda: "aarch64")
    assert extras.remedy("convert") == "pip install 'keras-sbn[convert]'"
    assert (
        "Python 3.10 to 3.12 on x86-64 alone, and this is Python 3.13 on aarch64; take"
        in extras.remedy("lce", "take the portable file")
    )
    assert "NumPy < 2" in extras.remedy("larq")
    assert extras.remedy("tensorflow") == "pip install 'keras-sbn[tensorflow]'"
    monkeypatch.setattr(extras.sys, "version_info", (3, 12, 0))
    assert "x86-64" in extras.remedy("lce")
    monkeypatch.setattr(extras.platform, "machine", lambda: "x86_64")
    assert extras.remedy("lce") == "pip install 'keras-sbn[lce]'"


def test_the_limits_of_the_extras_are_those_of_pyproject(monkeypatch):
    if sys.version_info < (3, 11):
        pytest.skip("tomllib is of Python 3.11")
    import tomllib

    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    everything = tomllib.loads(text)["project"]["optional-dependencies"]["all"]
    for extra, package in (("lce", "larq-compute"), ("larq", "larq>"), ("tensorflow", "tensorflow>")):
        (marker,) = (one for one in everything if one.startswith(package))
        newest = extras._NEWEST[extra]
        assert f"python_version < '{newest[0]}.{newest[1] + 1}'" in marker


def test_completion_by_argcomplete():
    pytest.importorskip("argcomplete")
    line = "keras-sbn train --data"
    done = subprocess.run(
        [
            "bash",
            "-c",
            f'"{sys.executable}" -c "import _keras_sbn_command as c; c.main()" 8>&1 9>/dev/null',
        ],
        capture_output=True,
        text=True,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "_ARGCOMPLETE": "1",
            "_ARGCOMPLETE_IFS": " ",
            "COMP_LINE": line,
            "COMP_POINT": str(len(line)),
        },
    )
    assert {"--dataset", "--data-dir"} <= set(done.stdout.split())
