"""What `make test-arm` says where it cannot run; the run itself is not part of the tests."""

import os
import sys
from pathlib import Path

import pytest

pytest.importorskip("keras_sbn")
sys.path.insert(0, str(Path(__file__).parent))
try:
    import cases
    import root
finally:
    sys.path.pop(0)


def program(folder, name, text):
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


def test_the_page_names_every_network_that_can_be_chosen():
    page = (Path(__file__).parents[2] / "docs/arm.md").read_text(encoding="utf-8")
    assert list(cases.CASES) == ["demo", "binarynet", "residual", "float-residual"]
    assert all(f"`{name}`" in page for name in cases.CASES)


def test_no_apt(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(root.MissingToolError, match=r"No apt-get: this needs Debian 12 or later"):
        root.make_root(tmp_path / "out", lambda line: None)


def test_a_download_that_fails(tmp_path, monkeypatch):
    program(tmp_path / "bin", "apt-get", "echo 'E: Unable to locate package python3' >&2; exit 100")
    program(tmp_path / "bin", "dpkg-deb", "exit 0")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    with pytest.raises(
        root.MissingToolError, match=r"ended with 100: E: Unable to locate package python3"
    ):
        root.make_root(tmp_path / "out", lambda line: None)
    assert not (tmp_path / "out/complete").exists()


def test_no_emulator(tmp_path, monkeypatch):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/complete").touch()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(root.MissingToolError, match=r"apt-get install qemu-user-static"):
        root.make_root(tmp_path / "out", lambda line: None)


def test_what_runs_under_emulation_sees_its_own_packages(tmp_path):
    program(tmp_path, "qemu", 'echo "$PYTHONPATH" "$@"')
    arm = root.ArmRoot(tmp_path / "root", str(tmp_path / "qemu"), Path("python3"), tmp_path / "packages")
    out = arm.run("cortex-a53", ["x.py"])
    assert out.split() == [
        str(tmp_path / "packages"),
        *("-cpu", "cortex-a53", "-L", str(tmp_path / "root"), "python3", "x.py"),
    ]
    program(tmp_path, "qemu", "echo broken >&2; exit 3")
    with pytest.raises(RuntimeError, match=r"emulation of cortex-a53 ended with 3: broken"):
        arm.run("cortex-a53", ["x.py"])
    assert "PYTHONPATH" not in os.environ or str(tmp_path) not in os.environ["PYTHONPATH"]
