"""What a race is made of: contestants, control and teacher, and the config of each training."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from diswot.checkpoint import read_search
from diswot.checks import number, whole
from diswot.config import make, member_node
from diswot.data.base import ImageData
from diswot.errors import UserError
from diswot.models.weights import EMBEDDED_FOR, embedded_names
from diswot.racing.halving import Plan, Trial
from diswot.runs import SearchSummary
from diswot.scoring.budget import CostModel
from diswot.spaces.base import Arch, Space
from diswot.teaching import teaching_weights

_KEPT = 10  # candidates in a search's result.json


def resolve_race(
    config: Mapping[str, Any], folders: Sequence[Path], found: SearchSummary | None = None
) -> dict[str, Any]:
    """Fill in contestants, control, space and teacher; without a trained teacher no distiller.

    Of a search, ``found`` or that of ``run``, the names of space, architectures and teacher and the
    limits of its budget are used, as data; classes are looked up in the folders of configs.

    Raises:
        UserError: A setting is missing or does not fit, or the run is no finished search.
    """
    data = make(config["data"], "data", ImageData)
    archs, space, best = config["archs"], config.get("space"), found
    if (config["run"] is None and found is None) == (archs is None):
        given = "none is given" if archs is None else "both are given"
        raise UserError(
            f"run, archs: {given}; give the run directory of a diswot search, or archs=[...] with "
            "their space"
        )
    if archs is None:
        count = whole("finalists", config["finalists"], 1)
        if count > _KEPT:
            raise UserError(f"finalists={count}: a search keeps its best {_KEPT}; give no more")
        if best is None:
            best, space = read_search("run", str(config["run"]), space, folders)
        archs = [each.arch for each in best.top[:count]]
    elif space is None:
        raise UserError("space: none is given; archs needs the space they are of")
    if best is not None and best.data != data.name == EMBEDDED_FOR:
        raise UserError(
            f"data: the search was of {best.data}; give data=..., by default {data.name}"
        )
    made = make(space or {}, "space", Space)
    if not isinstance(archs, list) or not archs:
        raise UserError(f"archs={archs}: give a list of architectures of {made.name}")
    parsed = [_parsed("archs" if best is None else "run", made, arch) for arch in archs]
    different = list(dict.fromkeys(map(str, parsed)))
    teacher = _teacher(config.get("teacher"), best, data, folders)
    return {
        **config,
        "archs": different,
        "control": _control(config, made, different, best, data),
        "space": dict(space or {}),
        "teacher": teacher,
        "distiller": config["distiller"] if teacher["name"] != "none" else {},
    }


def _parsed(setting: str, space: Space, text: object) -> Arch:
    try:
        return space.parse(str(text))
    except UserError as error:
        raise UserError(f"{setting}: {error}") from None


def _control(
    config: Mapping[str, Any],
    space: Space,
    archs: Sequence[str],
    best: SearchSummary | None,
    data: ImageData,
) -> str | None:
    """The largest candidate, none, or a given architecture that keeps the search's budget."""
    given = config["control"]
    if given in ("none", None):
        return None
    classes = data.num_classes if best is None else best.num_classes
    costs = CostModel(space, num_classes=classes, image=data.image_shape)
    if given == "largest":
        if best is None:
            return max(archs, key=lambda arch: costs.params(space.parse(arch)))
        if best.largest is None:
            raise UserError(
                "control=largest: this search is of an older version, which did not say which "
                "candidate was the largest; name an architecture, or give control=none"
            )
        return best.largest.arch
    arch = _parsed("control", space, given)
    for name, limit in ({} if best is None else best.budget).items():
        if name == "latency_ms":  # what was measured then is not measured again
            continue
        if (cost := costs.count(name, arch)) > limit:
            raise UserError(
                f"control={given} is outside the search's budget: {name} {cost:,}, at most "
                f"{limit:,.0f} are allowed"
            )
    return str(arch)


def _teacher(
    given: Mapping[str, Any] | None,
    best: SearchSummary | None,
    data: ImageData,
    folders: Sequence[Path],
) -> dict[str, Any]:
    """The teacher's node, with weights; that of ``teacher=none`` where there are none."""
    node = dict(given or {})
    if "name" not in node:  # its input alone may be given
        if best is None:
            raise UserError("teacher: none is given; name one, or give teacher=none")
        weights, name = best.teacher_weights, best.teacher or "none"
        if name == "none" or (weights == "none" and name not in embedded_names()):
            return {"name": "none", "weights": "none"}
        try:
            own = {**member_node("teacher", name, folders), "name": name, "weights": weights}
            if "members" in own:
                raise UserError("its members are not in the search's result")
        except UserError as error:
            advice = "name it with teacher=... and teacher.weights=..., as the search did"
            raise UserError(f"run: the search had teacher {name}; {advice} ({error})") from None
        node = {**own, **node}
    if best is not None and best.teacher_input and node["name"] == best.teacher:
        node = {"input": best.teacher_input, **node}
    weights = teaching_weights(node, data.name)
    if weights == "none":
        return {"name": "none", "weights": "none"}
    return {**node, "weights": weights}


def plan_of(config: Mapping[str, Any]) -> Plan:
    """The plan of a race whose config is resolved; a `UserError` for a setting that is wrong."""
    rungs = config["rungs"]
    if not isinstance(rungs, list) or not rungs:
        raise UserError(f"rungs={rungs} is not allowed; give a list of epochs, such as [2,4]")
    first = whole("seed", config["seed"], 0)
    if config["images"] is not None:
        whole("images", config["images"], 1)
    return Plan(
        archs=config["archs"],
        control=config["control"],
        rungs=[whole("rungs", epochs, 1) for epochs in rungs],
        keep=number("keep", config["keep"], low=0, high=1),
        seeds=range(first, first + whole("seeds", config["seeds"], 1)),
        taught=bool(config["distiller"]),
    )


def training_config(config: Mapping[str, Any], trial: Trial) -> dict[str, Any]:
    """The config of ``diswot train`` for one training of a race."""
    data, trainer = dict(config["data"]), dict(config["trainer"])
    if data.get("shuffle_seed") == config["seed"]:  # the default; another one is the user's
        data["shuffle_seed"] = trial.seed
    if config["images"] is not None:
        trainer["limit_train_batches"] = max(1, config["images"] // data["batch_size"])
    shared = ("space", "teacher", "callbacks", "device", "precision", "debug")
    return {
        **{name: config[name] for name in shared},
        "student": {"name": "arch", "arch": trial.arch, "weights": "none"},
        "distiller": config["distiller"] if trial.taught else {},
        "data": data,
        "protocol": {**config["protocol"], "max_epochs": trial.epochs},
        "trainer": trainer,
        "logger": {},
        "strict": False,  # the race itself looks at its teacher
        "seed": trial.seed,
    }
