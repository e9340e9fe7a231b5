"""Building, saving and loading of students and teachers."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import torch
from safetensors.torch import save
from torch import nn

from diswot.checks import folder, whole
from diswot.config import check_harmless, conf_dir, known_targets, make, member_node
from diswot.errors import UnreadableError, UserError
from diswot.given import NETWORK
from diswot.models.outputs import checked_network, count_params
from diswot.models.weights import WEIGHTS_FILE, load_weights
from diswot.runs import (
    EpochRecord,
    RaceRecord,
    ScoreRecord,
    SearchSummary,
    read_summary,
    write_atomic,
    write_json,
)
from diswot.spaces.base import Space

DESCRIPTION_FILE = "student.json"  # beside the weights of a trained student: what to build

_FINISHED_TRAINING = "give a run directory of diswot train that has finished"
_SEARCH_AGAIN = "run the same search again in a new folder"

Classes = Annotated[int, msgspec.Meta(ge=2, le=10**6)]
Size = Annotated[int, msgspec.Meta(ge=1, le=10**5)]


class _Description(msgspec.Struct):
    """The content of ``student.json``."""

    schema: Literal[1]
    student: dict[str, Any]
    space: dict[str, Any] | None
    num_classes: Classes
    in_channels: Size
    image_size: Size
    mean: list[float]
    std: list[float]
    sha256: str

    def __post_init__(self) -> None:
        if sorted(self.student) not in (["arch", "name"], ["name", "network"]):
            raise ValueError("student must hold name, and either arch or network")
        if not len(self.mean) == len(self.std) == self.in_channels or min(self.std) <= 0:
            raise ValueError("mean and std must have a number, of std positive, a channel")


def build_network(
    spec: Mapping[str, Any],
    role: str,
    num_classes: int,
    in_channels: int,
    image_size: int | None = None,
) -> nn.Module:
    """Build a network as a file of ``conf/teacher`` or ``conf/student`` describes it.

    ``spec`` holds ``name``, ``network`` (a node with ``_target_``) and ``weights`` for as many
    classes, see :func:`~diswot.models.weights.load_weights`; ``role`` is ``teacher``, whose weights
    may be without a classifier for them, or ``student``. A node with an ``image_size`` of null is
    given that of the images, in pixels. Gives a :class:`~diswot.models.outputs.Network` in training
    mode.

    Raises:
        UserError: For settings the network refuses or weights that cannot be loaded into it.
    """
    node = f"{role}.network"
    sizes = {"num_classes": num_classes, "in_channels": in_channels}
    if image_size is not None and spec["network"].get("image_size", 0) is None:
        sizes["image_size"] = image_size
    made = make(spec["network"], node, nn.Module, **sizes)
    return _loaded(
        checked_network(made, f"{node}: {spec['network']['_target_']}"), spec, role, node
    )


def build_student(
    spec: Mapping[str, Any],
    space: Mapping[str, Any] | None,
    num_classes: int,
    in_channels: int,
    image_size: int | None = None,
) -> nn.Module:
    """Build a student, an architecture of a space or a fixed network; see :func:`build_network`.

    ``spec`` and ``space``, the node of the architecture's space, are as :func:`resolve_student`
    leaves them.
    """
    if spec.get("arch") is None:
        return build_network(spec, "student", num_classes, in_channels, image_size)
    if space is None:
        raise UserError("space: none is given; student.arch needs the space it is of")
    made = make(space, "space", Space)
    arch = made.parse(str(spec["arch"]))
    network = made.built_for(arch, num_classes, in_channels, image_size)
    return _loaded(network, spec, "student", "space")


def _loaded(network: nn.Module, spec: Mapping[str, Any], role: str, node: str) -> nn.Module:
    weights = str(spec.get("weights", "none"))
    load_weights(
        network,
        weights,
        name=spec["name"],
        setting=f"{role}.weights",
        node=node,
        without_classifier=role == "teacher",
    )
    return network


def describe_student(
    config: Mapping[str, Any],
    *,
    num_classes: int,
    in_channels: int,
    image_size: int,
    mean: Sequence[float],
    std: Sequence[float],
) -> dict[str, Any]:
    """The description that :func:`save_student` keeps beside the weights.

    ``config`` is as :func:`resolve_student` gives it, ``image_size`` height and width of images.
    From the channels of images in [0, 1] ``mean`` is subtracted; then they are divided by ``std``.
    """
    spec = config["student"]
    kind = "network" if spec.get("arch") is None else "arch"
    return {
        "student": {"name": spec["name"], kind: spec[kind]},
        "space": config.get("space") if kind == "arch" else None,
        **{"num_classes": num_classes, "in_channels": in_channels, "image_size": image_size},
        **{"mean": list(map(float, mean)), "std": list(map(float, std))},
    }


def save_student(network: nn.Module, folder: Path, description: Mapping[str, Any]) -> None:
    """Write ``student.safetensors``, a bare state dict, and ``student.json``, each in one step.

    The folder exists; the description is that of :func:`describe_student`.
    """
    state = network.state_dict()
    content = save({name: value.cpu().contiguous().clone() for name, value in state.items()})
    digest = hashlib.sha256(content).hexdigest()
    write_atomic(folder / WEIGHTS_FILE, content)
    write_json(folder / DESCRIPTION_FILE, {"schema": 1, **description, "sha256": digest})


def read_student(run: str | Path, *, config_dir: str | Path | None = None) -> dict[str, Any]:
    """The content of ``student.json``, checked; for arguments and errors see :func:`load_student`.

    It has the entries of :func:`describe_student`, ``schema`` and ``sha256`` of the weights.
    """
    path = Path(run).expanduser()
    file, weights = path / DESCRIPTION_FILE, path / WEIGHTS_FILE
    for needed in (file, weights):
        if not needed.is_file():
            raise UserError(f"{path} holds no {needed.name}; {_FINISHED_TRAINING}")
    try:
        description = msgspec.json.decode(file.read_bytes(), type=_Description)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise UnreadableError(file, error, remedy=_FINISHED_TRAINING) from None
    folders = [conf_dir(), *([Path(config_dir)] if config_dir else [])]
    node = description.student.get("network")
    if isinstance(node, dict) and node.get("_target_") == NETWORK:
        raise UserError(
            f"{file}: the student was a module given from Python, which its files cannot build; "
            f"read {weights.name} by safetensors.torch.load_file into a module of your own"
        )
    networks = known_targets(f / group for f in folders for group in ("teacher", "student"))
    check_harmless(description.student, networks, f"{file}: student")
    check_harmless(description.space, known_targets(f / "space" for f in folders), f"{file}: space")
    if hashlib.sha256(weights.read_bytes()).hexdigest() != description.sha256:
        raise UserError(
            f"{weights} is not the file {DESCRIPTION_FILE} was written for, it is cut off or "
            f"replaced; {_FINISHED_TRAINING}"
        )
    return msgspec.structs.asdict(description)


def load_student(run: str | Path, *, config_dir: str | Path | None = None) -> nn.Module:
    """Load the student that a run of ``diswot train`` has trained, on the CPU, in eval mode.

    It takes ``(B, in_channels, H, W)`` images, normalised with the ``mean`` and ``std`` of
    :func:`read_student`. ``config_dir`` has further configs, where the student is of one of yours.

    Raises:
        UserError: There is no trained student, or its files are not what training wrote.
    """
    content = read_student(run, config_dir=config_dir)
    spec, file = content["student"], Path(run).expanduser() / DESCRIPTION_FILE
    sizes = (content["num_classes"], content["in_channels"], content["image_size"])
    try:
        with torch.random.fork_rng(devices=[]):  # layers draw defaults that are replaced
            network = build_student(spec, content["space"], *sizes)
    except UserError as error:
        raise UserError(f"{file}: {error}") from None
    load_weights(network, str(file.parent), name=spec["name"], setting=str(file))
    return network.eval()


def resolve_student(config: Mapping[str, Any], folders: Sequence[Path]) -> dict[str, Any]:
    """Fill in the student's architecture and space where a config refers to a search.

    Only the names of space and architecture of the search's result are used, after they were
    checked; the class of the space is looked up in the folders of configs. The ``space`` of a fixed
    network is None.

    Raises:
        UserError: A setting is missing or does not fit, or the search's result is not of its space.
    """
    student, space = config["student"], config.get("space")
    if "run" in student:
        place = whole("student.place", student.get("place", 1), 1)
        found, space = read_search("student.run", student["run"], space, folders, place)
        arch = found.arch if place == 1 else found.top[place - 1].arch
        return {**config, "space": space, "student": {**student, "arch": arch}}
    asked, given = f"student={student['name']}", (space or {}).get("name")
    if "arch" not in student:
        if space is not None:
            advice = "leave the space out, or give student=arch or student=searched"
            raise UserError(f"space={given}: {asked} is a fixed network; {advice}")
    elif space is None:
        raise UserError(f"space: none is given; {asked} needs the space of its architecture")
    elif not student["arch"]:
        raise UserError(f"student.arch: not given; give the text of an architecture of {given}")
    else:
        made = make(space, "space", Space)
        try:
            made.parse(str(student["arch"]))
        except UserError as error:
            raise UserError(f"student.arch: {error}") from None
    return {**config, "space": space}


def read_search(
    setting: str,
    path: str | None,
    space: Mapping[str, Any] | None,
    folders: Sequence[Path],
    place: int = 1,
) -> tuple[SearchSummary, dict[str, Any]]:
    """What a search found, read as data, and the node of its space; its ``place``-th best checked.

    ``setting`` names the run directory ``path`` in messages. The class of the space is looked up in
    the folders of configs, unless the node ``space`` is given.

    Raises:
        UserError: It is no finished search, or its result is not of the space.
    """
    run = folder(setting, path or None, "the run directory of a diswot search")
    file = run / "result.json"
    journals = (EpochRecord.file, ScoreRecord.file, RaceRecord.file)
    for kind, journal in zip(("training", "ranking", "race"), journals, strict=True):
        if (run / journal).is_file():
            raise UserError(f"{setting}: {run} is the run of a {kind}; give that of a search")
    if not file.is_file():
        problem = "holds no result.json; give the run directory of a diswot search"
        if (run / "candidates.jsonl").is_file():
            problem = "has not finished; run its command again, which goes on from there"
        raise UserError(f"{setting}: {run} {problem}")
    found = read_summary(file, SearchSummary, _SEARCH_AGAIN)
    if place > max(1, len(found.top)):
        listed = f"the best {len(found.top)} architectures; give at most {len(found.top)}"
        raise UserError(f"student.place={place}: {file} lists {listed}")
    best = found if place == 1 else found.top[place - 1]
    try:
        space = member_node("space", found.space, folders) if space is None else space
    except UserError as error:
        raise UserError(f"{file}: {error}") from None
    made = make(space, "space", Space)
    if made.name != found.space:
        raise UserError(f"space={made.name}: {file} is of {found.space}; give space={found.space}")
    try:
        arch = made.parse(best.arch)
    except UserError as error:
        raise UnreadableError(file, error, remedy=_SEARCH_AGAIN) from None
    possible = [found.in_channels] if found.in_channels else [3, 1]
    with torch.device("meta"):
        size = found.image_size
        built = (made.built_for(arch, found.num_classes, c, size) for c in possible)
        counts = list(map(count_params, built))
    if best.params not in counts:
        raise UserError(
            f"{file}: params is {best.params}, but {arch} with {found.num_classes} classes has "
            f"{' or '.join(map(str, counts))}; if the search had settings of space {found.space} "
            f"changed, give the same ones here, else {_SEARCH_AGAIN}"
        )
    return found, dict(space)
