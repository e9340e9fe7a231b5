"""Small runs, and readers of what loggers leave."""

import csv
import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined]

from diswot.config import conf_dir

SEARCH = [
    *("space=s0", "teacher=none", "proxy=[params,random]", "data=gaussian", "data.batch_size=4"),
    *("strategy=random", "strategy.evaluations=25", "device=cpu", "workers=1"),
]
TRAIN = [
    *("data=gaussian", "data.length=32", "data.batch_size=16", "data.image_size=8"),
    *("student=resnet8", "student.network.widths=[8,8,16,16]", "protocol.max_epochs=3"),
    *("teacher=none", "distiller=none", "device=cpu"),
]
RANK = [
    *("space=s0", "teacher=none", "proxy=[random]", "data=gaussian", "data.batch_size=4"),
    *("device=cpu", "workers=1", "resamples=10", "benchmark.sample=8"),
]

MEMBERS = sorted(f.stem for f in (conf_dir() / "logger").glob("*.yaml") if f.stem != "none")


@dataclass(frozen=True)
class Pair:
    """The same run with all loggers and without."""

    logged: Path
    plain: Path


def steps(path: Path, name: str) -> list[tuple[int, float]]:
    """Steps and values of a metric in what the CSV logger wrote, over all starts."""
    files = sorted((path / "csv").glob("version_*/metrics.csv"))
    rows = [row for file in files for row in csv.DictReader(file.open())]
    return [(int(row["step"]), float(row[name])) for row in rows if row.get(name)]


def offline_runs(path: Path) -> list[Path]:
    """The files W&B wrote offline, oldest first."""
    files = (path / "wandb").glob("offline-run-*/*.wandb")
    return sorted(files, key=lambda file: file.stat().st_mtime_ns)


def records(file: Path) -> Iterator[Record]:
    """The records of a .wandb file: LevelDB's log format behind a header of seven bytes."""
    data, place, parts = file.read_bytes(), 7, b""
    assert data.startswith(b":W&B")
    while place < len(data):
        rest = 32768 - place % 32768
        if rest < 7:
            place += rest
            continue
        _, length, kind = struct.unpack_from("<IHB", data, place)
        parts += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):
            yield Record.FromString(parts)
            parts = b""


class Offline:
    """Content of one .wandb file."""

    def __init__(self, file: Path) -> None:
        self.history: list[dict[str, Any]] = []
        self.summary: dict[str, Any] = {}
        self.config: dict[str, Any] = {}
        self.exit_code: int | None = None
        self.folder = file.parent
        for record in records(file):
            match record.WhichOneof("record_type"):
                case "run":
                    self.run = record.run
                case "config":
                    self.config |= _values(record.config.update)
                case "history":
                    self.history.append(_values(record.history.item))
                case "summary":
                    self.summary |= _values(record.summary.update)
                case "exit":
                    self.exit_code = record.exit.exit_code

    def points(self, name: str, axis: str) -> list[tuple[int, float]]:
        return [(line[axis], line[name]) for line in self.history if name in line]

    def table(self, name: str) -> Mapping[str, Any]:
        (file,) = (self.folder / "files/media/table/tables").glob(f"{name}_*.table.json")
        table: Mapping[str, Any] = json.loads(file.read_text())
        return table


def _values(items: Any) -> dict[str, Any]:
    return {".".join(item.nested_key) or item.key: json.loads(item.value_json) for item in items}
