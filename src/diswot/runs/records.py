"""The records of a run: the lines of its journal and the content of its ``result.json``.

Fields are the keys of the files. A field with a default may be missing in files of older versions.
"""

from dataclasses import dataclass, field
from typing import Any, ClassVar

from diswot.runs.latencies import LatencySummary
from diswot.runs.teachers import TeacherAccuracy


@dataclass(frozen=True)
class CandidateRecord:
    """One candidate of a search.

    ``score`` is the fitness at the time it was scored, None where ``status`` (``ok``, ``failed``,
    or ``screened``: dropped for its score by a cheap proxy) is not ``ok``; ``parts`` are its
    components by name, ``others`` those of every further proxy, None where it was not or could not
    be measured; ``reason`` says why it, or one of the others, failed. ``flops`` are MACs of one
    image, ``layers`` convolutions and linear layers. ``generation``, in which it was asked, counts
    from 0; ``cached`` ones were answered from an earlier line. The latency and its spread are as in
    `LatencyRecord`, None where nothing asked for it.
    """

    file: ClassVar[str] = "candidates.jsonl"

    arch: str
    score: float | None
    parts: dict[str, float]
    others: dict[str, dict[str, float] | None]
    params: int | None
    flops: int | None
    layers: int | None
    status: str
    reason: str | None
    generation: int
    cached: bool
    seconds: float
    latency_ms: float | None = None
    latency_spread_ms: float | None = None


@dataclass(frozen=True)
class ScoreRecord:
    """The scores of one architecture under one seed, in a ranking.

    ``parts`` are the components of every proxy's score that could be measured, by its name,
    ``failures`` why each other could not; ``seconds`` is what each takes, see
    `diswot.scoring.scorer.Measurement`. Sizes are as in `CandidateRecord`.
    """

    file: ClassVar[str] = "scores.jsonl"

    arch: str
    seed: int
    parts: dict[str, dict[str, float]]
    failures: dict[str, str]
    params: int | None
    flops: int | None
    layers: int | None
    seconds: dict[str, float]


@dataclass(frozen=True)
class EpochRecord:
    """One epoch of training, from 0.

    ``lr`` is that at its end; ``losses`` are means over its batches by name, ``loss`` what was
    minimised; ``val_loss`` is the cross-entropy of the evaluated network, ``val_top1`` and
    ``val_top5`` its accuracies in percent. ``images_per_second`` are trained ones, without
    validation; ``seconds`` are with it.
    """

    file: ClassVar[str] = "epochs.jsonl"

    epoch: int
    lr: float
    losses: dict[str, float]
    val_loss: float
    val_top1: float
    val_top5: float
    best_val_top1: float
    images_per_second: float
    seconds: float


@dataclass(frozen=True)
class ProbeRecord:
    """One step of the fit of a probe, from 1; ``loss`` is what it minimises, before the step."""

    file: ClassVar[str] = "fit.jsonl"

    step: int
    loss: float


@dataclass(frozen=True)
class TopCandidate:
    """One of the best candidates, with final scores; fields as in `CandidateRecord`."""

    arch: str
    score: float
    parts: dict[str, float]
    others: dict[str, float | None]
    params: int
    flops: int
    layers: int | None = None
    latency_ms: float | None = None


@dataclass(frozen=True)
class Standing:
    """One architecture among all of a benchmark, for one data set and target.

    ``target`` is ``vanilla`` or ``distilled``, ``accuracy`` top-1 in percent; ``rank`` 1 of
    ``count`` is the most accurate, equals share the best place. ``best_arch`` is the most accurate
    that keeps the budget, None where none does.
    """

    dataset: str
    target: str
    accuracy: float
    rank: int
    count: int
    best_arch: str | None
    best_accuracy: float | None


@dataclass(frozen=True)
class KnownAccuracies:
    """Where an architecture stands in a benchmark, and what that was read from."""

    source: str
    standings: list[Standing]


@dataclass(frozen=True)
class Validation:
    """How well a proxy ranked ``n`` architectures of known accuracy, mean over ``seeds``.

    Spearman's ρ with the 95 % interval over architectures, that of the parameters, and the lead
    over it with its interval (None of parameters); with the settings of the package's own YAML.
    """

    dataset: str
    target: str
    n: int
    seeds: int
    spearman: float
    low: float
    high: float
    params: float
    lead: float | None = None
    lead_low: float | None = None
    lead_high: float | None = None


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The ``result.json`` of a run, with version of the file and `diswot.versions.versions`."""

    schema: int = 1
    versions: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class SearchSummary(Summary):
    """Outcome of a search.

    ``arch`` is the best architecture, of which are ``score`` (fitness by ``proxy``), ``params``,
    ``flops`` and ``benchmark`` (what training is known to give it); ``top`` are the best, best
    first. ``largest`` is the scored candidate with the most parameters, which these alone would
    choose, ``largest_place`` its place by score; ``places`` are those of the best five among
    themselves, by seed, under others scored again; ``validated`` says how well the score is
    known to rank this space. ``front`` are the candidates of which none other is as good in all
    ``objectives`` and better in one, the cheapest first; of ``latency_ms`` says ``latency`` what it
    is, where something asked for it. ``teacher_params`` and ``teacher_flops`` are the teacher's, on
    an image of ``data``, ``teacher_input`` is what it was set to, ``teacher_accuracy`` is None
    where it has no trained weights or was not measured; ``budget`` the limits by name.
    ``evaluated`` proposals were answered, ``distinct`` different ones among them, ``failed`` could
    not be scored, ``screened`` were dropped for a cheap score, ``rejected`` ones broke the budget;
    ``exhausted``: the strategy had no more. ``seconds`` are over all restarts.
    """

    space: str
    arch: str
    score: float
    params: int
    flops: int
    latency_ms: float | None = None
    latency: LatencySummary | None = None
    evaluated: int
    distinct: int
    failed: int = 0
    screened: int = 0
    rejected: int
    exhausted: bool
    seconds: float
    candidates_per_second: float
    teacher: str | None
    teacher_weights: str = "none"
    teacher_input: dict[str, Any] | str | None = None
    teacher_params: int | None = None
    teacher_flops: int | None = None
    teacher_accuracy: TeacherAccuracy | None = None
    budget: dict[str, float] = field(default_factory=dict)
    proxy: str
    proxy_settings: dict[str, Any] = field(default_factory=dict)
    strategy: str
    seed: int
    data: str
    num_classes: int
    in_channels: int | None = None
    image_size: int | None = None
    device: str = "cpu"
    benchmark: KnownAccuracies | None = None
    top: list[TopCandidate]
    largest: TopCandidate | None = None
    largest_place: int | None = None
    places: dict[str, list[int]] = field(default_factory=dict)
    validated: list[Validation] = field(default_factory=list)
    objectives: list[str] = field(default_factory=list)
    front: list[TopCandidate] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class TrainSummary(Summary):
    """Outcome of a training; accuracies in percent.

    ``student`` is an architecture of ``space``, or a fixed network; ``teacher`` None where it was
    trained alone, ``teacher_top1`` its own accuracy on the test images, ``teacher_chance`` as in
    `TeacherAccuracy`; ``loss_weights`` are those of the distillers' losses, as given or measured.
    ``test_top1`` and ``test_top5`` are on the test images after the last epoch, ``best_val_top1``
    of ``best_epoch`` (from 0) on the images of ``validated_on``, ``test_top1_of_best`` on the test
    images where others chose the epoch. ``checkpoint`` is the file of the student; ``seconds`` are
    over all restarts.
    """

    student: str
    space: str | None = None
    teacher: str | None
    teacher_weights: str | None = None
    teacher_sha256: str | None = None
    teacher_top1: float | None = None
    teacher_chance: float | None = None
    distiller: list[str]
    loss_weights: dict[str, float] = field(default_factory=dict)
    data: str
    protocol: str = ""
    epochs: int
    test_top1: float
    test_top5: float
    test_top1_of_best: float | None = None
    best_val_top1: float
    best_epoch: int = 0
    validated_on: str
    params: int
    flops: int
    images_per_second: float
    seconds: float
    seed: int
    checkpoint: str = "student.safetensors"
    device: str = "cpu"
    threads: int | None = None


@dataclass(frozen=True, kw_only=True)
class ProbeSummary(Summary):
    """Outcome of a probe; accuracies in percent.

    ``train_top1`` is on the training ``images``, as they are evaluated, ``test_top1`` and
    ``test_top5`` on the test images. The classifier takes ``embedding_width`` values; ``l2`` is the
    weight of its penalty, ``steps`` led to it, ``converged`` says whether they were enough.
    ``params`` and ``flops`` are the teacher's, at its own input; ``checkpoint`` is its file.
    """

    teacher: str
    teacher_weights: str
    teacher_sha256: str | None = None
    data: str
    num_classes: int
    images: int
    embedding_width: int
    l2: float
    steps: int
    converged: bool
    train_top1: float
    test_top1: float
    test_top5: float
    params: int
    flops: int
    seconds: float
    seed: int = 0
    checkpoint: str = "student.safetensors"
    device: str = "cpu"
