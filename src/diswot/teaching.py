"""Teachers: built for the images of a data set, the weights that teach, how good one is itself."""

import math
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from diswot.checkpoint import (
    DESCRIPTION_FILE,
    build_network,
    describe_student,
    read_student,
    save_student,
)
from diswot.config import conf_dir, member_node
from diswot.data.base import EvalTransform, ImageData
from diswot.errors import UserError
from diswot.models.formula import staged_cost
from diswot.models.inputs import OwnInput, own_input
from diswot.models.outputs import Cost, count_flops, count_layers, count_params
from diswot.models.resnet import CifarResNet
from diswot.models.several import SeveralNetworks, Weighting
from diswot.models.weights import EMBEDDED_FOR, embedded_names, untrained_classifier
from diswot.runs import TeacherAccuracy

_BATCH = 100  # images of a pass
_FEWEST = 5  # images that say anything of a teacher
_SLIGHT = 0.1  # share of the way from chance to 100 % below which nothing is known
_Z = 1.96  # standard deviations of a 95 % interval


def build_teacher(
    spec: Mapping[str, Any], images: ImageData, num_classes: int | None = None
) -> nn.Module:
    """Build a teacher that is given images of a data set, and turns them into its own ``input``.

    Without one, a run directory among its weights says what it was trained with.

    ``num_classes`` are by default the data's. See `build_network` and
    `own_input`; the global generator is left as it was.
    """
    given, classes = images.transform, num_classes or images.num_classes
    own = _own_input(spec, given)
    with torch.random.fork_rng(devices=[]):  # layers draw defaults that are replaced
        network = build_network(spec, "teacher", classes, images.in_channels, own.image_size)
    return network if own == given else OwnInput(network, given, own)


def _own_input(spec: Mapping[str, Any], given: EvalTransform) -> EvalTransform:
    """See `own_input`; a run directory says itself what images its network was trained with."""
    run = Path(str(spec.get("weights", "none"))).expanduser()
    if "input" not in spec and (run / DESCRIPTION_FILE).is_file():
        described = read_student(run)
        spec = {**spec, "input": {key: described[key] for key in ("image_size", "mean", "std")}}
    return own_input(spec, given)


def teacher_cost(
    spec: Mapping[str, Any], num_classes: int, image: tuple[int, int, int]
) -> Cost | None:
    """Cost of a teacher on an image ``(in_channels, height, width)``; None where there is none.

    It is counted at the size of its own ``input``.
    """
    if spec["name"] == "none":
        return None
    channels, side = image[0], image[-1]
    plain = EvalTransform(side, (0.0,) * channels, (1.0,) * channels)
    side = _own_input(spec, plain).image_size
    with torch.device("meta"):
        untrained = {**spec, "weights": "none"}
        network = build_network(untrained, "teacher", num_classes, channels, side)
    if type(network) is CifarResNet:  # a pass on the meta device would load many modules first
        return staged_cost(*network.layout, (channels, side, side), shortcut=network.option)
    macs = count_flops(network, (channels, side, side))
    return Cost(count_params(network), macs, count_layers(network))


def save_teacher(
    network: nn.Module, folder: Path, spec: Mapping[str, Any], images: ImageData
) -> None:
    """Write the files of `save_student` for a teacher that `build_teacher` gave.

    They describe the network by itself, for images of its own ``input``.
    """
    own = _own_input(spec, images.transform)
    description = describe_student(
        {"student": spec},
        num_classes=images.num_classes,
        in_channels=images.in_channels,
        image_size=own.image_size,
        mean=own.mean,
        std=own.std,
    )
    save_student(network, folder, description)


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


def check_classifier(network: nn.Module, spec: Mapping[str, Any], readers: Iterable[str]) -> None:
    """Refuse a teacher whose classifier its weights do not give, where something reads it.

    ``spec`` is the teacher's node; ``readers`` are the names of distillers that read its logits or
    its classifier.

    Raises:
        UserError: There are some; it says how to get a classifier.
    """
    problem, reading = untrained_classifier(network), ", ".join(readers)
    if problem and reading:
        raise UserError(
            f"teacher.weights: {spec['weights']} {problem}, and distiller {reading} reads its "
            "logits; fit a classifier first by diswot probe, with the same teacher and data, and "
            "give its run directory as teacher.weights, or take a distiller of features, such as "
            "embedding"
        )


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
    the settings of that name that differ, of a model of timm ``{name: MODEL, teacher: timm}``, of
    torchvision likewise.
    ``weights`` are those of members that name none; for the rest see `SeveralNetworks`.

    Raises:
        UserError: A member that there is not, or cannot be built, or has no weights to teach with.
    """
    if not isinstance(members, Sequence) or isinstance(members, str):
        raise UserError(f"teacher.members={members}: give a list of teachers")
    sizes = num_classes, in_channels, image_size
    made = [_member_network(_member(member, weights), weights, sizes) for member in members]
    return SeveralNetworks(made, weighting, weights)


def _member_network(
    spec: dict[str, Any], weights: str, sizes: tuple[int, int, int | None]
) -> nn.Module:
    """Build one of several teachers; ``sizes`` as of `build_network`."""
    where = f"teacher.members: {spec['name']}"
    if torch.get_default_device().type == "meta":  # for costs
        spec["weights"] = "none"
    elif spec["weights"] == "none" != weights:
        raise UserError(
            f"{where} names no weights; give {{name: {spec['name']}, weights: FILE}}, or "
            "teacher.weights=embedded for all"
        )
    try:
        network = build_network(spec, "teacher", *sizes)
    except UserError as error:
        raise UserError(f"{where}: {str(error).removeprefix('teacher.weights: ')}") from None
    if problem := untrained_classifier(network):
        raise UserError(
            f"{where}: {spec['weights']} {problem}; fit a classifier by diswot probe and give its "
            "run directory"
        )
    return network


def _member(member: object, weights: str) -> dict[str, Any]:
    """The whole node of one of several teachers."""
    if not isinstance(member, str | Mapping):
        raise UserError(f"teacher.members: {member} is neither a teacher's name nor a node")
    given: dict[str, Any] = {"name": member} if isinstance(member, str) else dict(member)
    if not given.get("name"):
        raise UserError(f"teacher.members: {member} has no name")
    if "input" in given:
        raise UserError(f"teacher.members: {given['name']} has an input; teacher.input is of all")
    group_name = given.pop("teacher", given["name"])
    spec = given
    if "network" not in given:
        node = member_node("teacher", str(group_name), [conf_dir()])
        if unknown := given.keys() - node.keys():
            raise UserError(
                f"teacher.members: {given['name']} has no {', '.join(sorted(map(str, unknown)))}; "
                f"it has teacher, {', '.join(node)}"
            )
        spec = {**node, **given}
        if group_name in ("timm", "torchvision"):
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
    images or because the weights are of other classes, the second value says why. Weights that
    cannot be loaded are a `UserError`.
    """
    weights = teaching_weights(spec, data.name)
    if weights == "none" or not limit:
        return None, None
    network = build_teacher({**spec, "weights": weights}, data)
    try:
        images = data.test_dataset()
    except UserError as error:
        return None, str(error)
    if problem := untrained_classifier(network):
        return None, f"{weights} {problem}; its classifier is drawn, diswot probe fits one"
    count = min(limit, len(images))
    parts = torch.split(torch.linspace(0, len(images) - 1, count).long(), _BATCH)
    batches = ((images.transform.normalize(images.fitted(p)), images.labels[p]) for p in parts)
    return of_teacher(network, weights, batches, device, len(images)), None


def of_teacher(
    network: nn.Module, weights: str, batches: Iterable[Sequence[Tensor]], device: str, of: int
) -> TeacherAccuracy:
    """The accuracy of a teacher on some of ``of`` test images; see `accuracy`."""
    own = accuracy(network, batches, device)
    return TeacherAccuracy(weights, own["top1"], int(own["images"]), of, own["chance"])


def doubt(name: str, own: TeacherAccuracy | None) -> str | None:
    """What to say of a teacher that does not know the images; None where nothing shows that.

    It is doubted where the 95 % interval of its accuracy (Wilson) reaches below a tenth of the way
    from chance to 100 %. Chance is what its predictions would score if they had nothing to do with
    the labels: the sum over classes of the products of their shares, as in Cohen's kappa. The tenth
    is for teachers of other classes: they give images of one class alike predictions, so they hit
    or miss it as a whole. Fewer than five images say nothing.
    """
    if own is None or own.chance is None or own.images < _FEWEST:
        return None
    share, spread = own.top1 / 100, _Z**2 / own.images
    half = math.sqrt(spread * share * (1 - share) + spread**2 / 4)
    lowest = 100 * (share + spread / 2 - half) / (1 + spread)
    if lowest > own.chance + _SLIGHT * (100 - own.chance):
        return None
    return (
        f"teacher {name} (weights: {own.weights}) seems not to know the data: its top-1 is "
        f"{own.top1:.2f} % on {own.images:,} test images, where chance is {own.chance:.2f} %; are "
        "these its classes in its order, and images normalised as in its training?"
    )


def check_known(problem: str | None, *, strict: bool) -> None:
    """Warn of a `doubt`; where it is ``strict`` a `UserError`."""
    if problem and strict:
        raise UserError(f"{problem} (strict=true)")
    if problem:
        warnings.warn(problem, stacklevel=1)


@torch.no_grad()
def accuracy(
    network: nn.Module, batches: Iterable[Sequence[Tensor]], device: str
) -> dict[str, float]:
    """Accuracy in percent of a network that gives logits, whose mode is kept.

    ``top1`` and ``top5``; ``chance``, the top-1 of these predictions if they were independent of
    the labels; and how many ``images`` there were. Batches hold images ``(B, C, H, W)`` and labels
    ``(B,)``, and maybe more.
    """
    training = network.training
    network.to(device).eval()
    right, count = torch.zeros(2, dtype=torch.int64), 0
    given, said = Counter[int](), Counter[int]()
    for images, labels, *_ in batches:
        logits = network(images.to(device, memory_format=torch.channels_last)).cpu()
        classes = logits.topk(min(5, logits.shape[1])).indices
        likeliest = classes == labels[:, None]
        right += torch.stack([likeliest[:, 0].sum(), likeliest.sum()])
        count += len(labels)
        given.update(labels.tolist())
        said.update(classes[:, 0].tolist())
    network.train(training)
    top1, top5 = (100 * right / count).tolist()
    chance = 100 * sum(given[each] * said[each] for each in given) / count**2
    return {"top1": top1, "top5": top5, "chance": chance, "images": count}
