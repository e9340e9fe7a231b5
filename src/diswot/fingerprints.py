"""Fingerprints of the user's files that a run is made of: weights, arrays and image folders.

They stand in ``config.json``, so a run goes on only with the files it began with.
"""

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from diswot import _torchvision
from diswot.errors import UserError
from diswot.models.weights import WEIGHTS_FILE


def identified(config: Mapping[str, Any]) -> dict[str, Any]:
    """A resolved config with the fingerprints of the files it names, as far as these exist.

    They are ``sha256`` of the nodes ``teacher`` and ``student`` (see `with_sha256`), and
    ``data_files``, by the setting of ``data`` that names a file or a folder
    (`diswot.data.base.ImageData.own_files`).
    """
    nodes = {role: with_sha256(config[role]) for role in ("teacher", "student") if config.get(role)}
    files = _data_files(config["data"])
    return {**config, **nodes, **({"data_files": files} if files else {})}


def with_sha256(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a network with the sha256 of the file its ``weights`` come from, if any.

    Of several teachers, ``sha256_of`` lists that of each member in their order, None for a member
    that names no file; there is no such entry where none does.
    """
    if isinstance(members := spec.get("members"), Sequence):
        nodes = [each if isinstance(each, Mapping) else {} for each in members]
        sums = [with_sha256(node).get("sha256") for node in nodes]
        spec = {**spec, **({"sha256_of": sums} if any(sums) else {})}
    path = Path(str(spec.get("weights", "none"))).expanduser()
    path = path / WEIGHTS_FILE if path.is_dir() else path
    return {**spec, "sha256": _sha256(path)} if path.is_file() else dict(spec)


def _data_files(node: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """A file by its content, a folder by names, sizes and times of the images in it."""
    from hydra.utils import get_object

    kind: object = None
    with suppress(ImportError, ValueError, KeyError):  # a wrong target is refused where it is made
        kind = get_object(str(node["_target_"]))
    found = dict[str, dict[str, Any]]()
    if made_for := getattr(kind, "made_for", None):  # synthesized: others are tested on
        with suppress(UserError, OSError):  # refused where it is made
            real = _data_files(made_for(node))
            found |= {f"{setting}_to_test": known for setting, known in real.items()}
    for setting in getattr(kind, "own_files", ()):
        path = Path(str(node.get(setting))).expanduser()
        if path.is_dir():
            found[setting] = _folder(path)
        elif path.is_file():
            found[setting] = {"sha256": _sha256(path)}
    return found


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _folder(path: Path) -> dict[str, Any]:
    _torchvision.ensure()
    from torchvision.datasets.folder import IMG_EXTENSIONS

    lines, size, newest = list[str](), 0, 0
    for image in _images(path, (*IMG_EXTENSIONS, ".npz")):  # .npz: of a synthesis
        known = image.stat()
        time = int(known.st_mtime)  # not every copy keeps fractions
        lines.append(f"{image.path.removeprefix(str(path))}\0{known.st_size}\0{time}\n")
        size, newest = size + known.st_size, max(newest, time)
    digest = hashlib.sha256("".join(sorted(lines)).encode("utf-8", "surrogateescape"))
    return {
        "images": len(lines),
        "bytes": size,
        "newest": datetime.fromtimestamp(newest, UTC).isoformat(),
        "sha256": digest.hexdigest(),
    }


def _images(folder: str | Path, endings: tuple[str, ...]) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                yield from _images(entry.path, endings)
            elif entry.name.lower().endswith(endings):
                yield entry
