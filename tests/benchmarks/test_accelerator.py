"""The accelerator's training on the CPU: equal to `model.fit`, in pieces equal to one; what is packed."""

import csv
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def pack(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks" / "accelerator"))
    import pack

    return pack


@pytest.fixture
def images(tmp_path, rng):
    pillow = pytest.importorskip("PIL.Image")
    for split in ("train", "test"):
        for name in ("airplane", "bird"):
            folder = tmp_path / split / name
            folder.mkdir(parents=True)
            for index in range(8):
                pixels = rng.integers(0, 256, (32, 32, 3)).astype("uint8")
                pillow.fromarray(pixels).save(folder / f"{index}.png")
    return tmp_path


@pytest.mark.once
def test_the_scan_is_fit_with_sharpen_and_pieces_are_the_whole(images):
    pytest.importorskip("jax")
    environment = {**os.environ, "XDG_CACHE_HOME": str(images / "cache"), "JAX_PLATFORMS": "cpu"}
    environment["JAX_COMPILATION_CACHE_DIR"] = str(images / "compiled")
    # As it is run: what a scan and a step compute without optimizations differs in the last digits.
    environment.pop("JAX_DISABLE_MOST_OPTIMIZATIONS", None)
    paths = [ROOT, ROOT / "benchmarks", ROOT / "benchmarks" / "accelerator"]
    peer = ROOT / "tests" / "benchmarks" / "accelerator_peer.py"
    ended = subprocess.run(
        [sys.executable, str(peer), str(images)],
        env={**environment, "PYTHONPATH": os.pathsep.join(map(str, paths))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    found = json.loads(ended.stdout.splitlines()[-1])
    assert found["fit"]["moved"] > 0.01
    for way in ("scan", "steps"):
        assert found["fit"][way]["losses"] < 1e-4
        assert found["fit"][way]["weights"] < 1e-3
    assert found["augmentation"] == {"own": 64, "windows": 18}
    pieces = found["pieces"]
    assert pieces["returned"] == [0, 75, 0, 0]
    assert pieces["kept"] == 1
    assert pieces["equal"]
    assert pieces["kinds"] == ["float32", "int8"]
    assert pieces["losses"][0] == pieces["losses"][1]
    assert pieces["unfolded"] == "0"
    assert pieces["epochs"] == [1, 3]
    assert found["sweep"] == {
        "returned": 0,
        "rows": [["medium", "0.003", "0"], ["medium", "0.01", "0"], ["medium", "0.01", "1"]],
        # Once beside `model.fit`, once for the runs of "paper", once for the three of "medium".
        "steps_compiled": 3,
    }


@pytest.mark.once
@pytest.mark.lce
def test_workers_share_the_runs_and_quick_rows_have_the_accuracy_of_the_file(images):
    pytest.importorskip("jax")
    folder = images / "runs"
    environment = {**os.environ, "XDG_CACHE_HOME": str(images / "cache"), "JAX_PLATFORMS": "cpu"}
    environment["PYTHONPATH"] = str(ROOT)
    command = [sys.executable, str(ROOT / "benchmarks" / "accelerator" / "run.py")]
    command += ["--data-dir", str(images), "--folder", str(folder), "--preset", "medium"]
    command += ["--networks", "digits", "--methods", "ours", "ste", "--seeds", "1"]
    command += ["--learning-rates", "0.01", "--epochs", "1", "--batch-size", "4"]
    command += ["--train", "8", "--validation", "8"]

    def run(*more):
        ended = subprocess.run(
            [*command, *more], env=environment, capture_output=True, text=True, check=False
        )
        assert ended.returncode == 0, ended.stderr[-3000:]

    run("--train-only", "--workers", "2")
    networks = sorted(folder.glob("medium-*.npz"))
    assert len(networks) == 2
    assert not (folder / "rows.csv").exists()
    told = []
    for network in networks:
        with np.load(network) as stored:
            told.append(json.loads(str(stored["known"])))
    assert {"2 at once" in known["backend"] for known in told} == {True}
    run("--measure", "--quick")
    with (folder / "rows.csv").open() as file:
        rows = {row["method"]: row for row in csv.DictReader(file)}
    assert set(rows) == {"ours", "ste"}
    assert {row["test_reestimated"] for row in rows.values()} == {""}
    quick = {name: (row["validation"], row["test"]) for name, row in rows.items()}
    (folder / "rows.csv").unlink()
    run("--measure")
    with (folder / "rows.csv").open() as file:
        whole = list(csv.DictReader(file))
    assert {row["method"]: (row["validation"], row["test"]) for row in whole} == quick
    assert {row["folded_unlike_hard"] for row in whole} == {"0"}
    assert all(row["test_reestimated"] for row in whole)


@pytest.mark.once
def test_folders_of_images_are_packed_and_read_back(images, pack, monkeypatch):
    from accuracy_data import load

    out = images / "out"
    archive = pack.pack_data(images, out)
    with tarfile.open(archive) as packed:
        assert sum(member.isfile() for member in packed) == 32
    monkeypatch.setattr("accuracy_data.CACHE", images / "one")
    folder = load("cifar10", images, train=8, validation=8, half_size=False)
    monkeypatch.setattr("accuracy_data.CACHE", images / "other")
    packed = load("cifar10", out, train=8, validation=8, half_size=False)
    np.testing.assert_array_equal(folder.train[0], packed.train[0])
    np.testing.assert_array_equal(folder.train[1], packed.train[1])


@pytest.mark.once
def test_a_pack_without_images_or_too_large_is_refused(tmp_path, pack, monkeypatch, capsys):
    with pytest.raises(SystemExit) as exit_:
        pack.main(["--data-dir", str(tmp_path), "--out", str(tmp_path / "out")])
    assert exit_.value.code == 2
    assert "cifar10-images.tar.xz" in capsys.readouterr().err
    (tmp_path / "cifar10-images.tar.xz").write_bytes(b"12345")
    monkeypatch.setattr(pack, "pack_wheels", lambda *arguments: [])
    assert pack.main(["--data-dir", str(tmp_path), "--out", str(tmp_path / "out")]) == 0
    monkeypatch.setattr(pack, "_LIMIT", 4)
    with pytest.raises(SystemExit) as exit_:
        pack.main(["--data-dir", str(tmp_path), "--out", str(tmp_path / "out")])
    assert exit_.value.code == 2
