"""The teacher as one that teaches, or several: weights to learn from, and how good it is itself."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from diswot.checkpoint import build_network
from diswot.config import conf_dir, member_node
from diswot.data.base import ImageData
from diswot.errors import UserError
from diswot.models.several import SeveralNetworks, Weighting
from diswot.models.weights import EMBEDDED_FOR, embedded_names
from diswot.runs import TeacherAccuracy

_BATCH = 100  # images of a pass


def teaching_weights(spec: Mapping[str, Any], data: str) -> str:
    """The ``weights`` that a student learns from on ``data``, ``none`` where there are none.

    Those of the teacher's node ``spec``; where it has none, the embedded ones of the package's
    networks on the package's images.
    """
    name, weights = spec["name"], str(spec.get("weights", "none"))
    if weights != "none" or data != EMBEDDED_FOR or name not in embedded_names():
        return weights
    own = member_node("teacher", name, [conf_dir()])
    return "embedded" if spec["network"] == own["network"] else "none"


def trained_network(spec: Mapping[str, Any], data: ImageData) -> nn.Module:
    """The network of a teacher's node with its weights, for the classes of the data."""
    with torch.random.fork_rng(devices=[]):  # layers draw defaults that are replaced
        sizes = data.num_classes, data.in_channels, data.image_size
        return build_network(spec, "teacher", *sizes)


def several_teachers(
    members: Sequence[str | Mapping[str, Any]],
    weights: str,
    weighting: Weighting,
    *,
    num_classes: int,
    in_channels: int,
    image_size: int | None = None,
) -> SeveralNetworks:
    """The teachers of ``conf/teacher/several.yaml`` as one network.

    A member is the name of a teacher of the package, or a node: with ``network`` a whole one, else
    the settings of that name that differ, of a model of timm ``{name: MODEL, teacher: timm}``.
    ``weights`` are those of members that name none; for the rest see `SeveralNetworks`.

    Raises:
        UserError: A member that there is not, or cannot be built, or has no weights to teach with.
    """
    if not isinstance(members, Sequence) or isinstance(members, str):
        raise UserError(f"teacher.members={members}: give a list of teachers")
    made = []
    for member in members:
        spec = _member(member, weights)
        if torch.get_default_device().type == "meta":  # for costs
            spec["weights"] = "none"
        elif spec["weights"] == "none" != weights:
            raise UserError(
                f"teacher.members: {spec['name']} names no weights; give {{name: {spec['name']}, "
                "weights: FILE}, or teacher.weights=embedded for all"
            )
        made.append(build_network(spec, "teacher", num_classes, in_channels, image_size))
    return SeveralNetworks(made, weighting, weights)


def _member(member: str | Mapping[str, Any], weights: str) -> dict[str, Any]:
    """The whole node of one of several teachers."""
    given: dict[str, Any] = {"name": member} if isinstance(member, str) else dict(member)
    if "name" not in given:
        raise UserError(f"teacher.members: {member} has no name")
    group_name = given.pop("teacher", given["name"])
    spec = given
    if "network" not in given:
        spec = {**member_node("teacher", str(group_name), [conf_dir()]), **given}
        if group_name == "timm":
            spec["network"]["model"] = given["name"]
    if str(spec.get("weights", "none")) == "none":
        spec["weights"] = "none" if weights == "members" else weights
    return spec


def measured(
    spec: Mapping[str, Any], data: ImageData, device: str, limit: int
) -> tuple[TeacherAccuracy | None, str | None]:
    """Measure the teacher that students learn from on test images, at most ``limit`` of them.

    They are spread over all. ``spec`` is the teacher's node. There is no accuracy without trained
    weights (`teaching_weights`) or with a limit of 0; where it cannot be measured, for want of test
    images or because the weights are of other classes, the second value says why.
    """
    weights = teaching_weights(spec, data.name)
    if weights == "none" or not limit:
        return None, None
    try:
        network, images = trained_network({**spec, "weights": weights}, data), data.test_dataset()
    except UserError as error:
        return None, str(error)
    count = min(limit, len(images))
    parts = torch.split(torch.linspace(0, len(images) - 1, count).long(), _BATCH)
    batches = ((images.transform.normalize(images.fitted(p)), images.labels[p]) for p in parts)
    top1 = accuracy(network, batches, device)["top1"]
    return TeacherAccuracy(weights=weights, top1=top1, images=count, of=len(images)), None


@torch.no_grad()
def accuracy(
    network: nn.Module, batches: Iterable[Sequence[Tensor]], device: str
) -> dict[str, float]:
    """Top-1 and top-5 accuracy in percent of a network that gives logits; its mode is kept.

    Batches hold images ``(B, C, H, W)`` and labels ``(B,)``, and maybe more.
    """
    training = network.training
    network.to(device).eval()
    right, count = torch.zeros(2, dtype=torch.int64), 0
    for images, labels, *_ in batches:
        logits = network(images.to(device, memory_format=torch.channels_last)).cpu()
        likeliest = logits.topk(min(5, logits.shape[1])).indices == labels[:, None]
        right += torch.stack([likeliest[:, 0].sum(), likeliest.sum()])
        count += len(labels)
    network.train(training)
    top1, top5 = (100 * right / count).tolist()
    return {"top1": top1, "top5": top5}
