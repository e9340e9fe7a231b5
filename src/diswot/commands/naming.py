"""Names of run directories, ``${diswot.run_name:}`` in a config."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from diswot.config import identity, require

if TYPE_CHECKING:
    from omegaconf import DictConfig

__all__ = ["plain", "register"]


def register() -> None:
    """Tell OmegaConf, in this process, how run directories are named."""
    from omegaconf import OmegaConf

    OmegaConf.register_new_resolver("diswot.run_name", _run_name, replace=True)


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
    shard = config.pop("shard", None)
    words = _words_of_training(config) if "student" in config else _words_of_scoring(config)
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
