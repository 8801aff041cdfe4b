"""Packs what `run.py` needs and an accelerator's machine may lack: wheels and CIFAR-10, below 64 MiB.

    python benchmarks/accelerator/pack.py --data-dir data --python 3.12

`--data-dir` holds `cifar10-images.tar.xz`, or folders `train/CLASS` and `test/CLASS`. The images travel
compressed: decoded, 60,000 of 32 x 32 x 3 bytes have 176 MiB. `run.py` decodes them once, to one array of
bytes, which it keeps on the device.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PACK = ROOT / "out" / "accelerator" / "pack"
#: What a machine with JAX and NumPy may lack for Keras.
PACKAGES = ("keras", "namex", "optree", "absl-py")
_LIMIT = 64 * 2**20


def main(arguments: list[str] | None = None) -> int:
    """Fills the folder, or says why not."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=PACK)
    parser.add_argument("--python", default="3.12", help="Python of the other machine")
    parser.add_argument("--platform", default="manylinux2014_x86_64", help="its platform tag")
    parser.add_argument("--packages", nargs="*", default=PACKAGES)
    given = parser.parse_args(arguments)
    try:
        archive = pack_data(given.data_dir, given.out)
    except FileNotFoundError as error:
        parser.error(str(error))
    wheels = pack_wheels(given.out, given.packages, given.python, given.platform)
    digits = pack_mnist(given.data_dir, given.out)
    files = [archive, *digits, *wheels]
    size = sum(file.stat().st_size for file in files)
    for file in files:
        print(f"{file.stat().st_size / 2**20:7.1f} MiB  {file.name}")
    print(f"{size / 2**20:7.1f} MiB  in {given.out}")
    if size > _LIMIT:
        parser.error(f"Expected at most {_LIMIT // 2**20} MiB. Received: {size / 2**20:.1f} MiB")
    return 0


def pack_data(data_dir: Path, out: Path) -> Path:
    """Copies or makes the archive of images; returns its path."""
    out.mkdir(parents=True, exist_ok=True)
    packed = out / "cifar10-images.tar.xz"
    found = data_dir / packed.name
    if found.exists():
        shutil.copyfile(found, packed)
        return packed
    folders = [data_dir / "train", data_dir / "test"]
    if not all(folder.is_dir() for folder in folders):
        raise FileNotFoundError(
            f"Expected {packed.name}, or folders train and test, in --data-dir. Received: {data_dir}"
        )
    with tarfile.open(packed, "w:xz") as archive:
        for folder in folders:
            archive.add(folder, folder.name)
    return packed


def pack_mnist(data_dir: Path, out: Path) -> list[Path]:
    """Copies `mnist.npz`, where it is there, for the preset `full`."""
    found = data_dir / "mnist.npz"
    if not found.exists():
        return []
    shutil.copyfile(found, out / found.name)
    return [out / found.name]


def pack_wheels(out: Path, packages: Sequence[str], python: str, platform: str) -> list[Path]:
    """Builds the wheel of this package and fetches the others; returns their paths."""
    wheels = out / "wheels"
    shutil.rmtree(wheels, ignore_errors=True)
    wheels.mkdir(parents=True)
    pip = [sys.executable, "-m", "pip"]
    built = [*pip, "wheel", "-q", "--no-deps", "-w", str(wheels), str(ROOT)]
    subprocess.run(built, check=True)
    if packages:
        options = ["--no-deps", "--only-binary=:all:", "--python-version", python]
        options += ["--implementation", "cp", "--platform", platform, "-d", str(wheels)]
        subprocess.run([*pip, "download", "-q", *options, *packages], check=True)
    return sorted(wheels.glob("*.whl"))


if __name__ == "__main__":
    sys.exit(main())
