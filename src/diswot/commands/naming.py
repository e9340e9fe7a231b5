"""Names of run directories, ``${diswot.run_name:}``, and of settings that had another before."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diswot.config import identity, require
from diswot.errors import UserError
from diswot.runs import read_json

if TYPE_CHECKING:
    from omegaconf import DictConfig


_PRESETS = "short|crd|imagenet"
_KEYS = (
    *("name", "max_epochs", "optimizer", "schedule", "augment", "mixup", "cutmix", "ce_weight"),
    *("label_smoothing", "ema", "gradient_clip", "validation", "compile", "teacher_cache"),
    "balance",
)
_PRESET = re.compile(rf"\A(\+?)trainer=((?:{_PRESETS})(?:,(?:{_PRESETS}))*)\Z")
_KEY = re.compile(rf"\A([+~]{{0,2}})trainer\.((?:{'|'.join(_KEYS)})(?:[.=@].*)?)\Z", re.DOTALL)


def register() -> None:
    """Tell OmegaConf, in this process, how run directories are named and defaults follow others."""
    from omegaconf import OmegaConf

    OmegaConf.register_new_resolver("diswot.run_name", _run_name, replace=True)
    OmegaConf.register_new_resolver("diswot.at_most", _at_most, replace=True)
    OmegaConf.register_new_resolver("diswot.scaled", _scaled, replace=True)


def _at_most(value: int, limit: object) -> int:
    """A default that follows another setting; what is no number is refused where it is read."""
    return min(value, limit) if isinstance(limit, int) else value


def _scaled(epochs: Sequence[int], length: int, wanted: object) -> list[float]:
    """Epochs of a training of a length, at the same shares of one that is too short for them."""
    if not isinstance(wanted, int) or wanted > max(epochs):
        return list(epochs)
    return [epoch * wanted / length for epoch in epochs]


def plain(cfg: DictConfig) -> dict[str, Any]:
    """All settings but Hydra's own, as plain values with every reference resolved."""
    from omegaconf import OmegaConf

    own = OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"])
    values = OmegaConf.to_container(own, resolve=True, throw_on_missing=True)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


def _run_name(*, _root_: DictConfig) -> str:
    """A folder name that is the same for the same settings and another for others.

    The parts of a sharded run are folders of their own in one folder.
    """
    from diswot.keys import stable_hash

    config = plain(_root_)
    if "rungs" in config and config["run"] is not None:
        config["found"] = _found(Path(str(config["run"])).expanduser())
    shard = config.pop("shard", None)
    own = {"student": _words_of_training, "rungs": _words_of_race}
    own |= dict.fromkeys(("l2", "statistics"), _words_of_teacher)  # of a probe, of a synthesis
    words = next((own[key] for key in own if key in config), _words_of_scoring)(config)
    words += [f"seed{config['seed']}", f"{stable_hash(identity(config), bits=32):08x}"]
    part = "" if shard is None else f"/shard{str(shard).replace('/', 'of')}"
    return "-".join(map(str, words)) + part


def _words_of_scoring(config: dict[str, Any]) -> list[str]:
    require(config, "space", "teacher")
    proxies = list(config.get("proxy") or ())
    return [
        config["space"]["name"],
        config["teacher"]["name"],
        "+".join(proxies) if len(proxies) <= 4 else f"{len(proxies)}-proxies",
        *([config["strategy"]["name"]] if "strategy" in config else []),
    ]


def _words_of_training(config: dict[str, Any]) -> list[str]:
    require(config, "student", "teacher", "protocol")
    distillers = list(config.get("distiller") or ())
    return [
        config["student"]["name"],
        *([config["teacher"]["name"], "+".join(distillers)] if distillers else ["alone"]),
        config["protocol"]["name"],
    ]


def _found(run: Path) -> list[str]:
    """The best of a search as far as they can be read: of one that has grown they are others."""
    try:
        return [str(each["arch"]) for each in read_json(run / "result.json")["top"]]
    except (UserError, OSError, LookupError, TypeError):
        return []  # the race itself says what is wrong with it


def _words_of_race(config: dict[str, Any]) -> list[str]:
    require(config, "protocol")
    space = (config.get("space") or {}).get("name", "archs")
    run = re.sub(r"[^\w.+-]", "_", Path(str(config["run"] or space)).name)[:100]
    return [run, "+".join(config.get("distiller") or ()) or "alone", config["protocol"]["name"]]


def _words_of_teacher(config: dict[str, Any]) -> list[str]:
    require(config, "teacher", "data")
    return [config["teacher"]["name"], config["data"]["name"]]


def with_teacher_input(words: Sequence[str]) -> list[str]:
    """Words of a command line that add ``teacher.input``, which no teacher's YAML has to hold."""
    return [f"++{word}" if re.match(r"teacher\.input[.=]", word) else word for word in words]


def as_given(word: object) -> str:
    """A word of `with_teacher_input` as it was given."""
    return str(word).replace("++teacher.input", "teacher.input")


def translated(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Put words of a command line of ``diswot train`` into the present spelling.

    What was ``trainer`` is ``protocol``; ``trainer`` holds the arguments of Lightning's Trainer.
    This goes with the next release. Gives the words, and a line for each that was changed.
    """
    changed = [_KEY.sub(r"\1protocol.\2", _PRESET.sub(r"\1protocol=\2", word)) for word in words]
    renamed = [(old, new) for old, new in zip(words, changed, strict=True) if new != old]
    ends = "the old spelling goes with the next release"
    return changed, [f"{old} is now {new}; {ends}" for old, new in renamed]
