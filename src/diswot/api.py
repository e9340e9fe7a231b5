"""The commands as functions, for programs and notebooks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from diswot.commands import compose, quote, settled
from diswot.config import conf_dir, known_targets, make
from diswot.errors import UserError

if TYPE_CHECKING:
    from torch import nn

    from diswot.models.cost import Cost
    from diswot.runs import RankRow

__all__ = [
    "Score",
    "SearchResult",
    "TrainResult",
    "find_student",
    "load_student",
    "rank_proxies",
    "score_arch",
    "train_student",
]

Override = str | int | float | bool | None


@dataclass(frozen=True)
class Score:
    """The scores of one architecture.

    Attributes:
        arch: Canonical text.
        value: Fitness, by the first proxy; higher is better.
        parts: Its parts.
        others: Score of every further proxy.
        cost: Parameters, multiply-accumulates and layers.
    """

    arch: str
    value: float
    parts: dict[str, float]
    others: dict[str, float]
    cost: Cost


@dataclass(frozen=True)
class SearchResult:
    """Outcome of a search.

    Attributes:
        arch: The best architecture.
        score: Its fitness.
        params: Its trainable parameters.
        flops: Its multiply-accumulates of one image.
        top: The best candidates, best first, as in ``result.json``.
        summary: All of ``result.json``.
        config: The resolved config.
    """

    arch: str
    score: float
    params: int
    flops: int
    top: list[dict[str, Any]]
    summary: dict[str, Any]
    config: dict[str, Any]

    def build(self, num_classes: int | None = None, in_channels: int = 3) -> nn.Module:
        """The student, freshly initialised by torch's defaults: ready to be trained.

        Args:
            num_classes: By default the search's.
            in_channels: Channels of the images.

        Returns:
            A module whose ``forward`` gives logits ``(B, num_classes)``.
        """
        from diswot.spaces.base import Space

        space = make(self.config["space"], "space", Space)  # type: ignore[type-abstract]
        classes = num_classes or self.summary["num_classes"]
        return space.build(space.parse(self.arch), num_classes=classes, in_channels=in_channels)


@dataclass(frozen=True)
class TrainResult:
    """Outcome of a training.

    Attributes:
        student: The trained network, on the CPU, in eval mode.
        test_top1: Its accuracy on the test images, percent.
        params: Its trainable parameters.
        flops: Its multiply-accumulates of one image.
        summary: All of ``result.json``.
        config: The resolved config.
    """

    student: nn.Module
    test_top1: float
    params: int
    flops: int
    summary: dict[str, Any]
    config: dict[str, Any]


def score_arch(
    arch: str,
    *,
    space: str,
    teacher: str = "resnet110",
    proxy: str | Sequence[str] = "diswot",
    overrides: Iterable[str] = (),
    config_dir: str | Path | None = None,
    **settings: Override,
) -> Score:
    """Score one architecture.

    Args:
        arch: Text form, such as ``s0:1-3-5``.
        space: Name of a space.
        teacher: Name of a teacher.
        proxy: One name, or several of which the first gives the fitness.
        overrides: Further settings as on the command line, such as ``"data.batch_size=32"``.
        config_dir: A folder with further configs.
        settings: Top-level settings and groups: ``seed=1``, ``init="kaiming"``.

    Raises:
        UserError: Wrong input, or the architecture cannot be scored.
    """
    from diswot.scoring.setup import Setup

    groups = {"space": space, "teacher": teacher, "proxy": proxy}
    config = compose("search", _words({**groups, **settings}, overrides), config_dir)
    setup = Setup.from_config(settled(config))
    for name, each in setup.proxies.items():
        if each.relative:
            raise UserError(
                f"proxy.{name}: its scores are relative to other candidates, so one architecture "
                f"alone has none; take another proxy.{name}.combine"
            )
    measured = setup.scorer.measure(setup.space.parse(arch))
    if measured.failures or measured.cost is None:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in measured.failures.items())
        raise UserError(f"{arch} could not be scored: {reasons}")
    scores = {n: each.fitness([measured.parts[n]])[0] for n, each in setup.proxies.items()}
    name, _ = setup.fitness
    value, parts = scores.pop(name), measured.parts[name]
    return Score(measured.arch, value, parts, others=scores, cost=measured.cost)


def find_student(
    *,
    space: str = "s1",
    teacher: str = "resnet110",
    proxy: str | Sequence[str] = "diswot",
    strategy: str = "evolution",
    budget: Mapping[str, float] | None = None,
    run_dir: str | Path | None = None,
    overrides: Iterable[str] = (),
    config_dir: str | Path | None = None,
    quiet: bool = True,
    **settings: Override,
) -> SearchResult:
    """Search for the best student of a teacher.

    Args:
        space: Name of a space.
        teacher: Name of a teacher.
        proxy: One name, or several of which the first gives the fitness.
        strategy: Name of a strategy.
        budget: Limits by name: ``params``, ``flops``, ``layers``; by default the space's.
        run_dir: Where the run is kept, and where it goes on after a stop; None keeps nothing.
        overrides: Further settings as on the command line: ``"strategy.evaluations=100"``.
        config_dir: A folder with further configs.
        quiet: Show nothing.
        settings: Top-level settings and groups: ``seed=1``, ``workers=2``, ``data="gaussian"``.

    Raises:
        UserError: Wrong input, or nothing was found.
    """
    from diswot.search import run_search

    limits = {f"budget.{name}": limit for name, limit in (budget or {}).items()}
    groups = {"space": space, "teacher": teacher, "proxy": proxy, "strategy": strategy, **limits}
    config = compose("search", _words({**groups, **settings}, overrides), config_dir)
    with _directory(run_dir) as path:
        summary = asdict(run_search(config, path, quiet=quiet))
    kept = {key: summary[key] for key in ("arch", "score", "params", "flops", "top")}
    return SearchResult(**kept, summary=summary, config=config)


def train_student(
    student: str = "resnet20",
    *,
    teacher: str = "resnet56",
    weights: str | Path = "embedded",
    distiller: str | Sequence[str] = "kd",
    trainer: str = "short",
    run_dir: str | Path | None = None,
    overrides: Iterable[str] = (),
    config_dir: str | Path | None = None,
    quiet: bool = True,
    **settings: Override,
) -> TrainResult:
    """Train a student, with a teacher or alone.

    Args:
        student: Name of a student; ``arch`` and ``searched`` need overrides, see Example.
        teacher: Name of a teacher, or ``none``.
        weights: Of the teacher: ``embedded``, a file, the run directory of a training, or a tag.
        distiller: One name, several, or ``none``.
        trainer: Name of a protocol.
        run_dir: Where the run is kept, and where it goes on after a stop; None keeps nothing.
        overrides: Further settings as on the command line: ``"trainer.max_epochs=30"``.
        config_dir: A folder with further configs.
        quiet: Show nothing.
        settings: Top-level settings and groups: ``seed=1``, ``data="cifar100"``.

    Raises:
        UserError: Wrong input, or training failed.

    Example::

        diswot.train_student("arch", space="s0", overrides=["student.arch=s0:1-1-3"])
    """
    from diswot.train import run_train

    taught = {} if teacher == "none" else {"teacher.weights": str(weights)}
    groups = {"student": student, "teacher": teacher, "distiller": distiller, "trainer": trainer}
    config = compose("train", _words({**groups, **taught, **settings}, overrides), config_dir)
    with _directory(run_dir) as path:
        summary = asdict(run_train(config, path, _folders(config_dir), quiet=quiet))
        network = load_student(path, config_dir=config_dir)
    kept = {key: summary[key] for key in ("test_top1", "params", "flops")}
    return TrainResult(network, **kept, summary=summary, config=config)


def load_student(run: str | Path, *, config_dir: str | Path | None = None) -> nn.Module:
    """Load the student that a training left, see `diswot.checkpoint.load_student`."""
    from diswot.checkpoint import load_student

    return load_student(run, config_dir=config_dir)


def rank_proxies(
    *,
    space: str = "s0",
    proxy: str | Sequence[str] = "diswot",
    teacher: str = "resnet56",
    seeds: int = 1,
    run_dir: str | Path | None = None,
    overrides: Iterable[str] = (),
    config_dir: str | Path | None = None,
    quiet: bool = True,
    **settings: Override,
) -> list[RankRow]:
    """Measure how well proxies predict the accuracies that a benchmark knows.

    Args:
        space: Name of a space that has a benchmark.
        proxy: One name, several, or ``all``.
        teacher: Name of a teacher.
        seeds: How many.
        run_dir: Where the run is kept, and where it goes on after a stop; None keeps nothing.
        overrides: Further settings as on the command line: ``"benchmark.sample=300"``.
        config_dir: A folder with further configs.
        quiet: Show nothing.
        settings: Top-level settings and groups: ``control="shuffled"``, ``workers=2``;
            ``merge=FOLDER`` unites shards, whose settings then count.

    Returns:
        The rows of rank.csv, target by target, the best proxy first; none for a shard.

    Raises:
        UserError: Wrong input.
    """
    from diswot.rank import merge_shards, run_rank

    groups = {"space": space, "proxy": proxy, "teacher": teacher, "seeds": seeds}
    config = compose("rank", _words({**groups, **settings}, overrides), config_dir)
    if (merge := config["merge"]) is not None:
        targets = known_targets(_folders(config_dir))
        return merge_shards(Path(merge), targets, resamples=config["resamples"], quiet=quiet)
    if config["shard"] is not None and run_dir is None:
        raise UserError(f"shard={config['shard']}: give run_dir, or what is scored is lost")
    with _directory(run_dir) as path:
        return run_rank(config, path, quiet=quiet)


def _folders(config_dir: str | Path | None) -> list[Path]:
    return [conf_dir(), *([Path(config_dir)] if config_dir else [])]


@contextmanager
def _directory(run_dir: str | Path | None) -> Iterator[Path]:
    """The run directory; where none is named, one that is gone afterwards."""
    with TemporaryDirectory(prefix="diswot-") as folder:
        yield Path(run_dir or folder)


def _words(settings: Mapping[str, Any], overrides: Iterable[str]) -> list[str]:
    return [*(f"{name}={_word(value)}" for name, value in settings.items()), *overrides]


def _word(value: Any) -> str:
    if isinstance(value, str):
        return quote(value)
    if isinstance(value, Sequence):
        return f"[{','.join(map(_word, value))}]"
    return "null" if value is None else str(value)  # True and False are true and false to Hydra
