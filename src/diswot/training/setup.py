"""The parts of a training, built from a resolved config."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from diswot.checkpoint import build_student
from diswot.checks import whole
from diswot.config import conf_dir, make, member_node
from diswot.data.base import ImageData
from diswot.data.training import TrainingData
from diswot.distillers import Distiller, needing_teacher
from diswot.errors import UnfitError, UserError
from diswot.keys import stable_hash
from diswot.models.outputs import Network, NetworkOutputs
from diswot.models.weights import untrained_classifier
from diswot.teaching import build_teacher, check_classifier
from diswot.training.module import Distillation
from diswot.training.processes import world_size
from diswot.training.protocol import Protocol
from diswot.training.teacher import FrozenTeacher, like_stored, stored_outputs

_PROBE = 2  # images that shapes are seen with


@dataclass(frozen=True)
class TrainingSetup:
    """Everything the numbers of a training are a function of, but the Trainer.

    Attributes:
        batches: Training, validation and test batches of the data.
        module: Student and distillers, with the teacher beside them.
    """

    data: ImageData
    batches: TrainingData
    protocol: Protocol
    module: Distillation

    @classmethod
    def from_config(cls, config: Mapping[str, Any], *, quiet: bool = False) -> TrainingSetup:
        """Build everything of a config that `diswot.checkpoint.resolve_student` gives.

        The teacher's logits are computed where they are to be stored. Settings that are wrong, or
        that do not go together, raise `UserError`.
        """
        seed = whole("seed", config["seed"], 0)
        protocol = Protocol.from_config(config["protocol"])
        distillers = _distillers(config, protocol)
        data = make(config["data"], "data", ImageData)
        share, views = protocol.validation, protocol.cache_views
        batches = TrainingData(data, augment=protocol.augment, validation=share, views=views)
        fewest = min(batches.training.count, batches.validation.count)
        if (devices := world_size(config["trainer"])) > fewest:
            raise UserError(
                f"trainer.devices={devices}: with data.batch_size={data.batch_size} the images "
                f"make batches for {fewest} of them; give fewer devices or a smaller "
                "data.batch_size"
            )
        with _keyed("student", seed):
            spec, space = config["student"], config.get("space")
            sizes = data.num_classes, data.in_channels, data.image_size
            student = build_student(spec, space, *sizes)
        teacher, stored = None, None
        if distillers:
            images, _, indices = batches.training.view(torch.arange(_PROBE), 0)
            with torch.no_grad():  # in eval mode, which keeps the student's statistics
                outputs = seen = cast(Network, student.eval()).outputs(images)
            student.train()
            network: nn.Module = student
            if taught := {name: each for name, each in distillers.items() if each.needs_teacher}:
                network = trained_teacher(config, data)
                reading = [name for name, each in taught.items() if each.reads_classifier]
                check_classifier(network, config["teacher"], reading)
                if protocol.cache_views:
                    known = untrained_classifier(network) is None
                    form = like_stored(network, config, images)
                    with _keyed("connectors", seed):  # refused before all images are looked at
                        others = _distillers(config, protocol)
                        _connect(others, form, seen, stored=True, trained=known)
                    stored = stored_outputs(network, config, batches, quiet=quiet)
                    outputs = stored.outputs(stored.view(0, indices.device), indices, images.device)
                else:
                    teacher = FrozenTeacher(network, images)
                    outputs = teacher(images)
            with _keyed("connectors", seed):
                trained = untrained_classifier(network) is None
                _connect(distillers, outputs, seen, stored=stored is not None, trained=trained)
                heads = cast(Network, network).classifier, cast(Network, student).classifier
                labels = _classes(batches)
                for distiller in distillers.values():
                    distiller.attach(*heads, labels)
            # Known once they are connected: with some pairs a distiller needs no labels.
            labelled = [name for name, each in distillers.items() if each.needs_labels]
            if labelled and protocol.mixing:
                raise UserError(
                    f"distiller {', '.join(labelled)} needs one class an image, which mixed images "
                    "do not have; leave out protocol.mixup and protocol.cutmix, or the distiller"
                )
        module = Distillation(
            student,
            protocol,
            data.num_classes,
            seed=seed,
            distillers=distillers,
            teacher=teacher,
            stored=stored,
        )
        if distillers and protocol.balance is not None:
            module.balance(batches.training[0, 0], protocol.balance)
        return cls(data, batches, protocol, module)


@contextmanager
def _keyed(role: str, seed: int) -> Iterator[None]:
    """Let constructors draw from the global generator, and leave it as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stable_hash(role, seed))
        yield


def _classes(batches: TrainingData) -> Tensor:
    """Class of each image of the training split, ``(N,)``; -1 of those held out."""
    every, chosen = batches.training.images.labels, batches.training.chosen
    return torch.full_like(every, -1).index_copy(0, chosen, every[chosen])


def _distillers(config: Mapping[str, Any], protocol: Protocol) -> dict[str, Distiller]:
    nodes = config.get("distiller") or {}
    made = {name: make(node, f"distiller.{name}", Distiller) for name, node in nodes.items()}
    if protocol.cache_views:
        setting = f"protocol.teacher_cache.views={protocol.cache_views}"
        reading = [name for name, distiller in made.items() if not distiller.logits_only]
        if reading and not protocol.cache_embedding:
            raise UserError(
                f"{setting}: only logits are stored, but distiller {', '.join(reading)} reads "
                "more; give protocol.teacher_cache.embedding=true if that is the embedding, else "
                "views=0"
            )
        if protocol.mixing:
            raise UserError(
                f"{setting}: none are stored of mixed images; give views=0, or leave out "
                "protocol.mixup and protocol.cutmix"
            )
    return made


def _connect(
    distillers: Mapping[str, Distiller],
    teacher: NetworkOutputs,
    student: NetworkOutputs,
    *,
    stored: bool,
    trained: bool,
) -> None:
    """Connect all of them; of a pair that one cannot serve a `UserError` names those that can.

    The teacher's outputs may be stored ones, which have no maps; its classifier may not be trained.
    """
    try:
        for distiller in distillers.values():
            distiller.connect(teacher, student)
    except UnfitError as error:
        able = list[str]()
        for file in sorted((conf_dir() / "distiller").glob("*.yaml")):
            with suppress(UserError):  # distiller=none is no distiller
                node = member_node("distiller", file.stem, [conf_dir()])
                other = make(node, f"distiller.{file.stem}", Distiller)
                other.connect(teacher, student)
                able += [file.stem] * (trained or not other.reads_classifier)
        where = " (of a teacher whose outputs are stored none are kept)" if stored else ""
        advice = f"this pair can have {', '.join(able)}" if able else "no other can serve them"
        raise UserError(f"{error}{where}; {advice}") from None


def trained_teacher(config: Mapping[str, Any], data: ImageData) -> nn.Module:
    """The teacher that distillers need; a `UserError` where it has no trained weights."""
    spec, wanted = config["teacher"], ", ".join(needing_teacher(config["distiller"]))
    if spec["name"] == "none":
        raise UserError(
            f"teacher=none, but distiller {wanted} learns from a teacher; name one, or give "
            "distiller=none"
        )
    if str(spec["weights"]) == "none":
        raise UserError(
            f"teacher.weights=none: an untrained {spec['name']} has nothing to teach; give "
            "embedded, a file, the run directory of a training, or teacher=none distiller=none"
        )
    return build_teacher(spec, data)
