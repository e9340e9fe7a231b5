"""Build the embedded data set from Fashion-MNIST's idx files.

    python tools/build_fashion_mini.py /usr/share/datasets/fashion-mnist

takes the first 1,000 training and 200 test images of every class, in file order, and writes
``fashion_mini.npz`` and its line in ``SHA256SUMS`` to the package's assets. Equal input gives
equal bytes: the archive's timestamps are fixed.
"""

import argparse
import hashlib
import io
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from diswot.data.fashion import read_idx

NAME = "fashion_mini.npz"
ASSETS = Path(__file__).resolve().parents[1] / "src" / "diswot" / "assets"


def first_of_each_class(labels: NDArray[np.uint8], count: int) -> NDArray[np.intp]:
    """Give the indices of the first ``count`` images of every class, in file order."""
    chosen = [np.flatnonzero(labels == label)[:count] for label in np.unique(labels)]
    return np.sort(np.concatenate(chosen))


def subset(folder: Path, prefix: str, count: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Read one split and keep ``count`` images a class: (N, 28, 28) and (N,)."""
    images = read_idx(folder / f"{prefix}-images-idx3-ubyte.gz").numpy()
    labels = read_idx(folder / f"{prefix}-labels-idx1-ubyte.gz").numpy().astype(np.uint8)
    chosen = first_of_each_class(labels, count)
    return images[chosen], labels[chosen]


def write_npz(path: Path, arrays: dict[str, NDArray[np.uint8]]) -> None:
    """Write a compressed archive without the time of writing."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for key, array in arrays.items():
            content = io.BytesIO()
            np.lib.format.write_array(content, np.ascontiguousarray(array), allow_pickle=False)
            entry = zipfile.ZipInfo(f"{key}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, content.getvalue(), compresslevel=9)


def write_sum(path: Path) -> None:
    """Put the checksum of a file into ``SHA256SUMS`` beside it, as ``sha256sum`` would."""
    sums = path.with_name("SHA256SUMS")
    lines = sums.read_text(encoding="utf-8").splitlines() if sums.exists() else []
    others = [line for line in lines if line.split()[-1:] != [path.name]]
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    everything = sorted([*others, f"{digest}  {path.name}"], key=lambda line: line.split()[-1])
    sums.write_text("\n".join(everything) + "\n", encoding="utf-8")


def main(arguments: list[str] | None = None) -> None:
    """Read the command line and build."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path, help="folder of the four idx files (.gz)")
    parser.add_argument("--train", type=int, default=1000, help="training images a class")
    parser.add_argument("--test", type=int, default=200, help="test images a class")
    parser.add_argument("--output", type=Path, default=ASSETS, help="folder to write to")
    options = parser.parse_args(arguments)
    x_train, y_train = subset(options.folder, "train", options.train)
    x_test, y_test = subset(options.folder, "t10k", options.test)
    path = options.output / NAME
    write_npz(path, {"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test})
    write_sum(path)


if __name__ == "__main__":
    main()
