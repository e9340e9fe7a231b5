"""Everything of the package that reads what others wrote, as kinds of inputs for `fuzz`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import torch
from fuzz_files import RESNET8, images, weights
from fuzz_mutations import Kind, csv_mutated, json_mutated, mutated, odd_json, text_of
from fuzz_runs import CONFIGS, JOURNALS, RANK_ROW, SUMMARIES

from diswot.accuracies.table import ArchTable
from diswot.checkpoint import build_network, describe_student, read_student, save_student
from diswot.commands import compose
from diswot.config import conf_dir, make, member_node
from diswot.data import ImageData
from diswot.distillers import Distiller
from diswot.errors import UserError
from diswot.models.init import Initializer
from diswot.proxies.base import Proxy
from diswot.runs import RunDir, find_runs, read_candidates, read_rank_rows
from diswot.runs.files import Journal, sealed
from diswot.runs.tables import read_table
from diswot.scoring.budget import Budget
from diswot.scoring.latency import Latency, LatencyTable
from diswot.spaces import Space
from diswot.strategies import Strategy
from diswot.tables import load_table

SMALLER = {"timm": {"models": ["test_resnet", "test_efficientnet*", "test_vit", "test_vit[23]"]}}
"""Settings of spaces whose candidates take long to build."""


def all_kinds(folder: Path) -> list[Kind]:
    """Every kind; files are written below an empty folder."""
    makers = (architectures, journals, results, tables, nodes, weights, images, words)
    return [kind for maker in makers for kind in maker(folder)]


def members(group: str) -> list[str]:
    """Names of the members of a config group."""
    return sorted(path.stem for path in (conf_dir() / group).glob("*.yaml"))


def architectures(_: Path) -> Iterable[Kind]:
    """Texts of every space; what is read must be written as it can be read again."""

    def read(space: Space, data: bytes) -> None:
        arch = space.parse(data.decode("utf-8", "surrogateescape"))
        assert space.parse(str(arch)) == arch, f"{arch} is read otherwise"

    for name in members("space"):
        node = {**member_node("space", name, [conf_dir()]), **SMALLER.get(name, {})}
        space, rng = make(node, "space", Space), Random(0)
        texts = {str(space.sample(rng)).encode() for _ in range(40)}
        yield Kind(f"architectures of {name}", 90, sorted(texts), partial(read, space), mutated)


def journals(folder: Path) -> Iterable[Kind]:
    """Journals with checksums: what is read of a damaged one must be what was written."""

    def read(kind: Any, written: list[Any], data: bytes) -> str | None:
        file = folder / kind.file
        file.write_bytes(data)
        peeked = Journal(file, kind).peek()
        assert [record for record, _ in Journal(file, kind).read()] == peeked
        return None if all(record in written for record in peeked) else "read otherwise"

    def lines(rng: Random, data: bytes) -> bytes:
        """Lines that hold anything, with the checksum of it."""
        odd = (odd_json(rng, json.loads(line)) for line in data.splitlines())
        texts = [sealed(text_of(line).decode()) for line in odd]
        return b"".join(rng.sample(texts, rng.randint(1, len(texts))))

    for kind, records in JOURNALS.items():
        texts = [json.dumps(msgspec.to_builtins(record)) for record in records]
        whole = b"".join(map(sealed, texts))
        yield Kind(f"journal {kind.file}", 25, [whole], partial(read, kind, records), mutated)
        plain = "\n".join(texts).encode()
        unchecked = partial(read, kind, records)
        yield Kind(f"{kind.file} with right checksums", 10, [plain], unchecked, lines)


def results(folder: Path) -> Iterable[Kind]:
    """The JSON files of a run directory, each beside whole others."""
    candidates = next(iter(JOURNALS))

    def run_of(command: str, name: str) -> Path:
        made = folder / f"{command}-{name}"
        made.mkdir()
        (made / "config.json").write_text(json.dumps(CONFIGS[command]), encoding="utf-8")
        return made

    def found(run: Path, name: str, data: bytes) -> str:
        (run / name).write_bytes(data)
        (only,) = find_runs([run])
        assert only.result is not None
        return f"called {only.state}"

    def opened(run: Path, name: str, data: bytes) -> None:
        (run / name).write_bytes(data)
        with RunDir(run, CONFIGS["search"], candidates) as directory:
            directory.load_state()

    def described(data: bytes) -> None:
        (student / "student.json").write_bytes(data)
        read_student(student)

    for command, summary in SUMMARIES.items():
        seed = json.dumps(asdict(summary)).encode()
        read = partial(found, run_of(command, "result"), "result.json")
        yield Kind(f"result.json of {command}", 10, [seed], read, json_mutated)
    failure = b'{"schema": 1, "type": "UserError", "error": "x", "stopped": false}'
    read = partial(found, run_of("search", "failure"), "failure.json")
    yield Kind("failure.json", 5, [failure], read, json_mutated)
    state = json.dumps({"strategy": {"rng": [3, [1, 2, 3], None]}, "journal": 10})
    config = json.dumps(CONFIGS["search"]).encode()
    for name, seeds, mutate in (
        ("state.json", [sealed(state), state.encode()], mutated),
        ("config.json", [config], json_mutated),
    ):
        yield Kind(name, 5, seeds, partial(opened, run_of("search", name), name), mutate)
    student = folder / "student"
    student.mkdir()
    network = build_network(RESNET8, "student", 10, 3)
    sizes = {"num_classes": 10, "in_channels": 3, "image_size": 32}
    about = describe_student({"student": RESNET8}, **sizes, mean=[0.5] * 3, std=[0.5] * 3)
    save_student(network, student, about)
    described_as = (student / "student.json").read_bytes()
    yield Kind("student.json", 5, [described_as], described, json_mutated)


def tables(folder: Path) -> Iterable[Kind]:
    """CSV files of runs and of users, and the folder of a table."""
    folder = folder / "tables"
    folder.mkdir()

    def read(name: str, use: Callable[[Path], object], data: bytes) -> None:
        (folder / name).write_bytes(data)
        use(folder / name)

    def accuracies(file: Path) -> None:
        table = ArchTable(path=file, dataset="x", name="x", space="s0", sample=None, datasets=None)
        table.select(0)

    def latencies(file: Path) -> None:
        table = LatencyTable(path=file, column="ms", always=False)
        table.of("s0:1-1-1", torch.nn.Identity, (3, 8, 8))

    candidates = b"arch,score,params\ns0:1-1-1,0.5,3\ns0:1-1-3,-1e-3,4\n"
    row = {name: value for name, value in vars(RANK_ROW).items() if str(value) != "nan"}
    rank_rows = f"{','.join(row)}\n{','.join(map(str, row.values()))}\n".encode()
    accuracy = b"arch,params,top1\ns0:1-1-1,3,90.5\ns0:1-1-3,4,91\n"
    milliseconds = b"arch,ms\ns0:1-1-1,1.5\ns0:1-1-3,inf\n"
    journal = Journal(folder / "candidates.jsonl", next(iter(JOURNALS)))
    for record in JOURNALS[next(iter(JOURNALS))]:
        journal.append(record)
    journal.close()
    for name, use, seed in (
        ("candidates.csv", lambda file: read_candidates(file.parent), candidates),
        ("rank.csv", lambda file: read_rank_rows(file.parent), rank_rows),
        ("metrics.csv", read_table, b"epoch,loss\n0,1.5\n1,1.25\n"),
        ("accuracies.csv", accuracies, accuracy),
        ("latencies.csv", latencies, milliseconds),
    ):
        yield Kind(name, 2, [seed], partial(read, name, use), csv_mutated)
    published = conf_dir().parent / "experiments" / "s0_ablation"
    own = folder / "table"
    own.mkdir()
    files = ("table.yaml", "paper.csv", "results.csv")
    for name in files:
        (own / name).write_bytes((published / name).read_bytes())
    for name in files:

        def loaded(data: bytes, name: str = name) -> None:
            (own / name).write_bytes(data)
            try:
                load_table(own)
            finally:
                (own / name).write_bytes((published / name).read_bytes())

        mutate = mutated if name.endswith("yaml") else csv_mutated
        yield Kind(name, 1, [(published / name).read_bytes()], loaded, mutate)


def nodes(folder: Path) -> Iterable[Kind]:
    """Settings of members, as YAML files of a user and as values of any type."""
    (folder / "conf" / "space").mkdir(parents=True)

    def yaml(data: bytes) -> None:
        (folder / "conf" / "space" / "mine.yaml").write_bytes(data)
        make(member_node("space", "mine", [folder / "conf"]), "space", Space)

    small = ("s0", "s1", "s2", "nasbench201", "pit", "autoformer")
    files = [(conf_dir() / "space" / f"{name}.yaml").read_bytes() for name in small]
    yield Kind("YAML of a space", 1, files, yaml, mutated)
    for group, kind, chosen in (
        *(("space", Space, small), ("init", Initializer, members("init"))),
        *(("proxy", Proxy, members("proxy")), ("strategy", Strategy, members("strategy"))),
        *(("budget", Budget, members("budget")), ("data", ImageData, ("gaussian",))),
        *(("distiller", Distiller, members("distiller")), ("latency", Latency, ("measured",))),
    ):
        found = []
        for name in chosen:
            with suppress(UserError):  # one that refers to other groups
                node = member_node(group, name, [conf_dir()])
                found += [node] if "members" not in node else []

        def settings(data: bytes, group: str = group, kind: type = kind) -> None:
            make(json.loads(data), group, kind)

        seeds = [json.dumps(node).encode() for node in found]
        yield Kind(f"settings of {group}", 1, seeds, settings, _node_mutated)


def _node_mutated(rng: Random, data: bytes) -> bytes:
    """Other settings of the same target."""
    node = json.loads(data)
    target = node.pop("_target_")
    changed = odd_json(rng, node)
    changed = changed if isinstance(changed, dict) else node
    return text_of({**changed, "_target_": target})


WORDS = (
    b"search space=s1 teacher=resnet110 strategy.evaluations=250 budget.params=1e6",
    b"search space=nasbench201 proxy=[diswot,nwot] seed=3 strategy=random data=gaussian",
    b"rank space=s0 proxy=all control=shuffled seeds=2 benchmark.sample=20",
    b"train student=arch student.arch='s1:8/n3x1-8-8/n3x1-8-8/n3x1-8-8' space=s1 distiller=[kd,sp]",
    b"race space=s0 rungs=[1,2] finalists=3 distiller.kd.weight=0.5 seeds=2",
    b"search +proxy.mine={_target_:x,name:y} ~budget hydra.run.dir=x",
)


def words(_: Path) -> Iterable[Kind]:
    """Overrides, through the whole composition of a config."""

    def composed(data: bytes) -> None:
        command, *overrides = data.decode("utf-8", "replace").replace("\0", "").split(" ")
        if command in ("search", "rank", "train", "race"):
            compose(command, overrides, None)

    yield Kind("overrides", 0.2, list(WORDS), composed, _words_mutated)


def _words_mutated(rng: Random, data: bytes) -> bytes:
    command, _, rest = data.partition(b" ")
    return command + b" " + mutated(rng, rest)
