"""Configs as plain values: their folder, the objects they describe, the identity of a run."""

import math
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from diswot.errors import UserError

T = TypeVar("T")

IRRELEVANT = (
    *("workers", "candidate_seconds", "teacher_images", "logger", "debug", "strict", "hydra"),
    *("resamples", "merge"),
    *("data.num_workers", "data.resident"),
    *("benchmark.source", "benchmark.path", "benchmark.datasets", "data_files"),
    *("protocol.teacher_cache.dir", "trainer.profiler"),
    *("callbacks.lines", "callbacks.progress", "callbacks.curves"),
)
"""Settings, and groups of settings, that change no score."""

MAY_GROW = ("strategy.evaluations", "seeds")
"""Settings that may grow between two starts of one run."""

_REFUSALS = (TypeError, ValueError, ImportError, AttributeError, OverflowError)
"""What a class raises of settings that it cannot take."""

ADDED = {
    "protocol.balance": None,
    "protocol.teacher_cache.top": None,
    "protocol.teacher_cache.half": False,
    "protocol.teacher_cache.embedding": False,
}
"""Settings that came later, and the value that leaves a run as it was: it is that of before."""

FINGERPRINTS = ("data_files", "student.sha256", "teacher.sha256", "teacher.sha256_of")
"""Of the files of a run (`diswot.fingerprints`); runs of older versions may have none."""


def conf_dir() -> Path:
    """The folder of configs: inside the package when installed, beside it in a checkout."""
    packaged = Path(__file__).parent / "conf"
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "conf"


def make(node: Mapping[str, Any], group: str, kind: type[T], **further: Any) -> T:
    """Instantiate a config node, with further arguments, where it stands in ``group``.

    Raises:
        UserError: What the node's class says is wrong with its settings, or that it is none.
    """
    if not isinstance(node, Mapping):
        raise UserError(f"{group}={node}: give a node with _target_, as its YAML has it")
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate
    from omegaconf.errors import OmegaConfBaseException

    def refused(reason: object) -> UserError:
        text = " ".join(str(reason).split())
        return UserError(f"{group}: {node.get('_target_')} refuses its settings: {text}")

    try:
        made = instantiate(node, _convert_="all", **further)
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, UserError):
            raise cause from None
        if not isinstance(cause, (*_REFUSALS, type(None))):
            raise
        raise refused(cause or error) from error
    except (OmegaConfBaseException, RecursionError, TypeError) as error:  # no values at all
        raise refused(error) from error
    if not isinstance(made, kind):
        raise UserError(f"{group}: {node.get('_target_')} gives no {kind.__name__}")
    return made


def with_members(config: dict[str, Any], folders: Sequence[Path]) -> dict[str, Any]:
    """The config with a proxy's ``members``, a list of proxies' names, as their nodes by name.

    Raises:
        UserError: A name that no folder of configs has, twice the same, or none.
    """
    for name, node in (config.get("proxy") or {}).items():
        if not isinstance(node, dict) or isinstance(node.get("members"), dict | None):
            continue
        members = node["members"] if isinstance(node["members"], list) else [node["members"]]
        files = {f.stem: f for folder in folders for f in sorted((folder / "proxy").glob("*.yaml"))}
        known = sorted({*files} - {name})
        wrong = [each for each in members if each not in known or members.count(each) > 1]
        if wrong or not members:
            problem = f"{wrong[0]!r} is unknown or named twice" if wrong else "none is given"
            raise UserError(
                f"proxy.{name}.members={members}: {problem}; give different ones of "
                f"{', '.join(known)}"
            )
        from omegaconf import OmegaConf

        node["members"] = {
            each: OmegaConf.to_container(OmegaConf.load(files[each])) for each in members
        }
    return config


def member_node(group: str, name: str, folders: Sequence[Path]) -> dict[str, Any]:
    """The node of a member as plain values, from ``<group>/<name>.yaml`` of the first folder.

    Raises:
        UserError: There is no such member, or its file needs the whole config to be read.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError  # type: ignore[import-untyped]

    files = [file for folder in folders for file in sorted((folder / group).glob("*.yaml"))]
    file = next((file for file in files if file.stem == name), None)
    if file is None:
        known = ", ".join(dict.fromkeys(file.stem for file in files)) or "none"
        raise UserError(f"there is no {group} {name!r}; {group}s are: {known}")
    try:
        node = OmegaConf.to_container(OmegaConf.load(file), resolve=True, throw_on_missing=True)
    except (OmegaConfBaseException, YAMLError, ValueError, RecursionError) as error:
        problem = " ".join(str(error).split())
        raise UserError(f"{file} cannot be read alone ({problem}); give {group}={name}") from None
    parts = [node, *node.values()] if isinstance(node, dict) else []
    made = any("_target_" in each for each in parts if isinstance(each, dict))
    if not made or "defaults" in parts[0]:
        raise UserError(f"{file} is no whole config of a {group} by itself; give {group}={name}")
    return {str(key): value for key, value in parts[0].items()}


def known_targets(folders: Iterable[Path]) -> set[str]:
    """Every ``_target_`` that is named in a folder of configs."""
    files = (file for folder in folders for file in folder.rglob("*.yaml"))
    texts = (file.read_text(encoding="utf-8") for file in files)
    return {name for text in texts for name in re.findall(r"_target_:\s*['\"]?([\w.]+)", text)}


def check_harmless(node: object, allowed_targets: Collection[str], where: str) -> None:
    """Refuse a node read from a run directory that could make anything but known objects.

    Those are what `known_targets` gives; ``where`` is the file, and the part of it, for messages.

    Raises:
        UserError: A ``_target_`` is not allowed, or a value refers to another (``${...}``).
    """
    if isinstance(node, str) and "${" in node:
        raise UserError(f"{where} refers to {node!r}; only values are allowed")
    if isinstance(node, Mapping):
        target = node.get("_target_", "")
        if "_target_" in node and not (isinstance(target, str) and target in allowed_targets):
            raise UserError(
                f"{where} names {target!r}, which is in no config folder; "
                "give the folder of your plug-ins: --config-dir, in Python config_dir"
            )
        node = list(node.values())
    if isinstance(node, list):
        for value in node:
            check_harmless(value, allowed_targets, where)


def flatten(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """All settings with their dotted names; whole floats as integers, so that 1e6 is 1000000."""
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{prefix}{key}.")
        else:
            whole = isinstance(value, float) and value.is_integer()
            yield f"{prefix}{key}", int(value) if whole else value


def identity(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that make a run what it is, by dotted name."""
    left_out = {*IRRELEVANT, *MAY_GROW}
    proxies = list(config.get("proxy") or ())
    if (config.get("screen") or {}).get("proxy") is None:
        left_out.add("screen")  # older runs have none
    if "strategy" in config:
        left_out.add("benchmark")  # a search asks it only what the found architecture scores
    else:
        proxies.sort()  # to a search the first is the fitness, to a ranking all are alike
    settings = {
        name: value
        for name, value in flatten(config)
        if not any(name == each or name.startswith(f"{each}.") for each in left_out)
        and not (name in ADDED and value == ADDED[name])
    }
    return settings | ({} if "protocol" in config else {"proxy": proxies})


def fingerprints(config: Mapping[str, Any]) -> dict[str, Any]:
    """The fingerprints of a run's files, by dotted name."""
    return {
        name: value
        for name, value in flatten(config)
        if any(name == each or name.startswith(f"{each}.") for each in FINGERPRINTS)
    }


def finite(config: Mapping[str, Any]) -> None:
    """Refuse numbers that no file of settings can hold with a `UserError`."""
    for name, value in flatten(config):
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"{name}={value} is not allowed; give a finite number")


def require(config: Mapping[str, Any], *groups: str) -> None:
    """Refuse a config in which a group was left out with a `UserError`."""
    for group in groups:
        if not config.get(group):
            raise UserError(f"{group}: none is given; choose one, --help lists them")


def difference(
    before: Mapping[str, Any], after: Mapping[str, Any]
) -> list[tuple[str, object, object]]:
    """Settings and files in which two runs differ: name, value before, value after.

    Fingerprints that the run before has not are not compared.
    """
    old, new = ({**identity(each), **fingerprints(each)} for each in (before, after))
    unknown = {name for name in fingerprints(after) if name not in old}
    names = sorted({*old, *new} - unknown)
    both = ((name, old.get(name, "(not set)"), new.get(name, "(not set)")) for name in names)
    return [(name, was, now) for name, was, now in both if was != now]
