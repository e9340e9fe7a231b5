"""The commands as functions, for programs and notebooks.

Most take ``overrides``, settings as on the command line (``"data.batch_size=32"``); ``settings``,
top-level ones and groups (``seed=1``, ``data="cifar100"``); ``config_dir``, a folder of further
configs; ``run_dir``, where the run is kept and goes on after a stop, None to keep nothing. Wrong
input, an architecture that cannot be scored, a search that finds nothing or a training that failed
is a `UserError`.

A ``teacher`` or ``student`` may also be a ``torch.nn.Module`` whose last layer is linear, or a pair
of one and the paths of its stages, which are else found; it is copied, with its weights. ``data``
may be ``(images, labels)``, a Dataset or a DataLoader, read once into memory: images as uint8 or of
[0, 1], (N, C, H, W), which ``data.mean`` and ``data.std``, by default their own, normalise. Such a
run goes on from a call with equal objects.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diswot.commands import calls, settled
from diswot.config import known_targets, make
from diswot.errors import UserError

if TYPE_CHECKING:
    from torch import nn
    from torch.utils.data import DataLoader, Dataset

    from diswot.models.outputs import Cost
    from diswot.runs import Contestant, Estimate, RankRow

    Network = str | nn.Module | tuple[nn.Module, Sequence[str]]
    Images = str | tuple[Any, Any] | Dataset[Any] | DataLoader[Any] | None


DEFAULT_PROXIES = ("recommended", "diswot")

Folder = str | Path
Names = str | Sequence[str]
Override = str | int | float | bool | None
Limit = float | str | Sequence[float | str] | None


@dataclass(frozen=True)
class Score:
    """The scores of one architecture, and its cost.

    ``value``, higher is better, is what the first proxy makes of its ``parts``; ``others`` are the
    scores by every further proxy.
    """

    arch: str
    value: float
    parts: dict[str, float]
    others: dict[str, float]
    cost: Cost


@dataclass(frozen=True)
class SearchResult:
    """Outcome of a search: the best architecture, and the ``top`` candidates, best first.

    ``front`` are those of the Pareto front, the cheapest first. ``flops`` are multiply-accumulates
    of one image, ``summary`` is all of ``result.json``, ``objects`` those it was given, by name.
    """

    arch: str
    score: float
    params: int
    flops: int
    top: list[dict[str, Any]] = field(repr=False)
    front: list[dict[str, Any]] = field(repr=False)
    summary: dict[str, Any] = field(repr=False)
    config: dict[str, Any] = field(repr=False)
    config_dir: Folder | None = field(default=None, repr=False)
    objects: dict[str, Any] = field(default_factory=dict, repr=False)

    def build(self, num_classes: int | None = None, in_channels: int = 3) -> nn.Module:
        """The student with fresh weights; its ``forward`` gives logits ``(B, num_classes)``."""
        from diswot.spaces.base import Space

        space = make(self.config["space"], "space", Space)
        sizes = num_classes or self.summary["num_classes"], in_channels, self.summary["image_size"]
        return space.built_for(space.parse(self.arch), *sizes)

    def race(self, **settings: Any) -> RaceResult:
        """Distil the best of ``top`` briefly, see `race_students`."""
        return race_students(self, **{"config_dir": self.config_dir, **settings})


@dataclass(frozen=True)
class TrainResult:
    """Outcome of a training: the student on the CPU, in eval mode, and its test accuracy, percent.

    ``flops`` are multiply-accumulates of one image; ``summary`` is all of ``result.json``.
    """

    student: nn.Module = field(repr=False)
    test_top1: float
    params: int
    flops: int
    summary: dict[str, Any] = field(repr=False)
    config: dict[str, Any] = field(repr=False)


def score_arch(
    arch: str,
    *,
    space: str,
    teacher: Network = "resnet110",
    proxy: Names = "diswot",
    data: Images = None,
    overrides: Iterable[str] = (),
    config_dir: Folder | None = None,
    **settings: Override,
) -> Score:
    """Score one architecture, such as ``s0:1-3-5``; of several proxies the first is the fitness."""
    from diswot.scoring.setup import Setup

    groups = {"space": space, "teacher": teacher, "proxy": proxy, "data": data}
    with calls.given_config("search", {**groups, **settings}, overrides, config_dir) as config:
        setup = Setup.from_config(settled(config))
    for name, each in setup.proxies.items():
        if each.relative:
            raise UserError(
                f"proxy.{name}: its scores are relative to other candidates, so one architecture "
                "alone has none; take another proxy, or diswot with combine=sum"
            )
    measured = setup.scorer.measure(setup.space.parse(arch))
    if measured.failures or measured.cost is None:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in measured.failures.items())
        raise UserError(f"{arch} could not be scored: {reasons}")
    scores = {n: each.fitness([measured.parts[n]])[0] for n, each in setup.proxies.items()}
    name, _ = setup.fitness
    return Score(measured.arch, scores.pop(name), measured.parts[name], scores, measured.cost)


def find_student(
    *,
    space: str = "s1",
    teacher: Network = "resnet110",
    proxy: Names = DEFAULT_PROXIES,
    strategy: str = "evolution",
    budget: Mapping[str, Limit] | float | str | None = None,
    data: Images = None,
    test_data: Images = None,
    run_dir: Folder | None = None,
    overrides: Iterable[str] = (),
    config_dir: Folder | None = None,
    quiet: bool = True,
    **settings: Override,
) -> SearchResult:
    """Search for the best student of a teacher, whose accuracy is measured on ``test_data``.

    Of several proxies the first gives the fitness; ``budget`` limits ``params``, ``flops``,
    ``layers`` and ``latency_ms``: a number, a share of the teacher's such as ``"0.25x"``, or a list
    of which the smallest counts; by default as the space has it, and no more than the teacher. A
    number alone limits ``params``; ``"none"`` sets no limit.
    """
    from diswot.search import run_search

    each = budget if isinstance(budget, Mapping) else {} if budget is None else {"params": budget}
    limits: dict[str, Any] = {f"budget.{name}": limit for name, limit in each.items()}
    if isinstance(budget, str) and not budget.endswith("x"):
        limits = {"budget": budget}
    groups = {"space": space, "teacher": teacher, "proxy": proxy, "strategy": strategy}
    images = {"data": data, "test_data": test_data}
    given = {**groups, **images, **limits, **settings}
    with calls.call("search", given, overrides, config_dir, run_dir) as (config, path):
        summary = asdict(run_search(config, path, quiet=quiet))
    kept = {key: summary[key] for key in ("arch", "score", "params", "flops", "top", "front")}
    kept |= {"config_dir": config_dir, "objects": calls.objects_of(given)}
    return SearchResult(**kept, summary=summary, config=config)


def train_student(
    student: Network = "resnet20",
    *,
    teacher: Network = "resnet56",
    weights: Folder = "embedded",
    distiller: Names = "kd",
    protocol: str = "short",
    data: Images = None,
    test_data: Images = None,
    run_dir: Folder | None = None,
    overrides: Iterable[str] = (),
    config_dir: Folder | None = None,
    quiet: bool = True,
    **settings: Override,
) -> TrainResult:
    """Train a student, with a teacher or alone: ``teacher="none", distiller="none"``.

    The students ``arch`` and ``searched`` need ``overrides`` (``student.arch=s0:1-1-3``). The
    ``weights`` of a named teacher are ``embedded``, a file, the run directory of a training, or a
    tag. Where ``data`` is an object ``test_data`` is one too, as of ``random_split``.

    A student that is a module is trained from its weights on; the result has a trained copy.
    `load_student` cannot build such a one: its ``student.safetensors`` is a state dict.
    """
    from diswot.given import trained
    from diswot.models.weights import WEIGHTS_FILE
    from diswot.train import run_train

    if "trainer" in settings:  # as the protocol was called before
        protocol = str(settings.pop("trainer"))
        warnings.warn("trainer= is now protocol=", DeprecationWarning, stacklevel=2)
    groups = {"student": student, "teacher": teacher, "distiller": distiller, "protocol": protocol}
    named = isinstance(teacher, str) and teacher != "none"
    taught = {"teacher.weights": str(weights)} if named else {}
    given = {**groups, "data": data, "test_data": test_data, **taught, **settings}
    with calls.call("train", given, overrides, config_dir, run_dir) as (config, path):
        summary = asdict(run_train(config, path, calls.config_folders(config_dir), quiet=quiet))
        if isinstance(student, str):
            network = load_student(path, config_dir=config_dir)
        else:
            network = trained(student, path / WEIGHTS_FILE)
    kept = {key: summary[key] for key in ("test_top1", "params", "flops")}
    return TrainResult(network, **kept, summary=summary, config=config)


@dataclass(frozen=True)
class RaceResult:
    """Outcome of a race: the winner's architecture, mean test accuracy in percent, and size.

    ``margin`` is by how much it beats the ``control``, None where it is that or there is none.
    ``contestants`` are all, the winner first; ``student`` is its network as it was trained, on the
    CPU, in eval mode; ``summary`` is all of ``result.json``.
    """

    arch: str
    test_top1: float
    params: int
    flops: int
    control: str | None
    margin: Estimate | None
    contestants: list[Contestant] = field(repr=False)
    student: nn.Module = field(repr=False)
    summary: dict[str, Any] = field(repr=False)
    config: dict[str, Any] = field(repr=False)


def race_students(
    found: Folder | SearchResult | None = None,
    *,
    run_dir: Folder | None = None,
    overrides: Iterable[str] = (),
    config_dir: Folder | None = None,
    quiet: bool = True,
    **settings: Any,
) -> RaceResult:
    """Distil the best candidates of a search, or given architectures, briefly by halving.

    ``found`` is what a search gave, with its space, teacher and data where none are named here, or
    its run directory; in its place ``archs=[...]`` need ``space`` and ``teacher``. Where ``data``
    is an object ``test_data`` is one too.
    """
    from msgspec import convert

    from diswot.race import run_race
    from diswot.runs import SearchSummary

    if isinstance(found, SearchResult):
        settings = {**found.objects, **settings}
    own: dict[str, Any] = {"run": str(found)} if isinstance(found, str | Path) else {}
    if calls.objects_of(settings):
        own["workers"] = 1  # objects are in this process
    given, words, search = {**own, **settings}, list(overrides), None
    with calls.call("race", given, words, config_dir, run_dir) as (config, path):
        if isinstance(found, SearchResult):
            config.update(calls.shared_with(found.config, config, [*settings, *words]))
            search = convert(found.summary, SearchSummary)
        folders = calls.config_folders(config_dir)
        summary = run_race(config, path, folders, found=search, quiet=quiet)
        network = load_student(path, config_dir=config_dir)
    names = ("arch", "test_top1", "params", "flops", "control", "margin", "contestants")
    kept = {name: getattr(summary, name) for name in names}
    return RaceResult(**kept, student=network, summary=asdict(summary), config=config)


def load_student(run: Folder, *, config_dir: Folder | None = None) -> nn.Module:
    """Load the student that a training left, see `diswot.checkpoint.load_student`."""
    from diswot import checkpoint

    return checkpoint.load_student(run, config_dir=config_dir)


def rank_proxies(
    *,
    space: str = "s0",
    proxy: Names = DEFAULT_PROXIES,
    teacher: Network = "resnet56",
    data: Images = None,
    seeds: int = 1,
    run_dir: Folder | None = None,
    overrides: Iterable[str] = (),
    config_dir: Folder | None = None,
    quiet: bool = True,
    **settings: Override,
) -> list[RankRow]:
    """Measure how well proxies predict the accuracies that a benchmark knows.

    ``merge=FOLDER`` among the settings unites shards, whose settings then count.

    Returns:
        The rows of rank.csv, target by target, the best proxy first; none for a shard.
    """
    from diswot.rank import merge_shards, run_rank

    groups = {"space": space, "proxy": proxy, "teacher": teacher, "data": data, "seeds": seeds}
    given = {**groups, **settings}
    with calls.call("rank", given, overrides, config_dir, run_dir) as (config, path):
        if (merge := config["merge"]) is not None:
            targets = known_targets(calls.config_folders(config_dir))
            return merge_shards(Path(merge), targets, resamples=config["resamples"], quiet=quiet)
        if config["shard"] is not None and run_dir is None:
            raise UserError(f"shard={config['shard']}: give run_dir, or what is scored is lost")
        return run_rank(config, path, quiet=quiet)
