"""What all Hydra entry points share: finding configs, exit codes, one-line errors."""

from __future__ import annotations

import io
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diswot.config import conf_dir, identity, require
from diswot.errors import UserError
from diswot.hydra_task import Task, launcher_errors, sweep_summary

if TYPE_CHECKING:
    from omegaconf import DictConfig

__all__ = [
    "compose",
    "message",
    "prepare_process",
    "quote",
    "run_app",
    "to_plain",
]

SEVERAL = ("proxy", "distiller", "logger")
"""Groups that can hold several members at once."""

_EXTRAS = {"hydra/launcher/joblib": "joblib", "hydra/sweeper/optuna": "optuna"}
"""Choices that come with a package, and the extra that installs it."""

_NAMED = 4  # proxies named in a folder's name; more are counted


def run_app(name: str, job: Callable[[DictConfig], object], argv: Sequence[str]) -> int:
    """Run a Hydra app and turn what goes wrong into one message.

    Args:
        name: Of the main config, ``conf/<name>.yaml``, and of the job.
        job: Called once a run.
        argv: Arguments without the program.

    Returns:
        Exit code: 0, 2 for wrong input, 130 after Ctrl-C.
    """
    prepare_process()
    try:
        return _run_hydra(name, job, argv)
    except KeyboardInterrupt as stop:
        print(str(stop) or "Stopped.", file=sys.stderr)  # noqa: T201
        return 130


def prepare_process() -> None:
    """Settle what is alike in every process that runs an app's jobs."""
    warnings.filterwarnings("ignore", message="The `srun` command is available")
    _register()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without × is no reason to fail


def _run_hydra(name: str, job: Callable[[DictConfig], object], argv: Sequence[str]) -> int:
    import hydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    _prepare(name, argv)
    task = Task(name, job)
    try:
        with _argv(name, argv), _group_errors(), launcher_errors():
            hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=name)(task)()
        if task.refused:
            raise task.refused
    except (UserError, HydraException, OmegaConfBaseException, OSError) as error:
        if _debugging(argv):
            raise
        told = sweep_summary(task.jobs, task.failed) if task.failed else message(error)
        print(f"diswot {name}: {told}", file=sys.stderr)  # noqa: T201
        return 2
    return 0


def compose(name: str, overrides: Sequence[str], config_dir: str | Path | None) -> dict[str, Any]:
    """The resolved config of an entry point, as plain values.

    Args:
        name: Of the main config.
        overrides: As on the command line.
        config_dir: A further folder of configs.

    Raises:
        UserError: The config cannot be composed; Hydra's text, which lists what is allowed.
    """
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    _prepare(name, ["--config-dir", str(config_dir)] if config_dir else [])
    search_path = []
    if config_dir:
        search_path.append(f"hydra.searchpath=[{quote(f'file://{Path(config_dir).resolve()}')}]")
    try:
        with (
            initialize_config_dir(str(conf_dir()), version_base="1.3", job_name=name),
            _group_errors(),
        ):
            return to_plain(hydra_compose(name, [*overrides, *search_path]))
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(message(error)) from error


@contextmanager
def _group_errors() -> Iterator[None]:
    """Hydra says it with a bare ValueError when a group is given null or a number."""
    try:
        yield
    except ValueError as error:
        if not str(error).startswith("Config group override"):
            raise
        raise UserError(f"{error}; give a name, or ~group to leave a group out") from error


def quote(text: str) -> str:
    """``text`` as a value of Hydra's command-line grammar that is taken literally."""
    if re.fullmatch(r"[\w./:+-]+", text):
        return text
    escaped = re.sub(r"(\\*)('|$)", lambda m: m[1] * 2 + (m[2] and "\\'"), text)
    return f"'{escaped}'"


def to_plain(cfg: DictConfig) -> dict[str, Any]:
    """Resolve all references and leave OmegaConf behind."""
    from omegaconf import OmegaConf

    plain = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items() if key != "hydra"}


def _prepare(name: str, argv: Sequence[str]) -> None:
    """Tell Hydra what the folders of configs cannot: ``<group>=all``, and a name for run dirs."""
    from hydra.core.config_store import ConfigStore
    from omegaconf import OmegaConf

    folders = [conf_dir(), *_config_dirs(argv)]
    main = OmegaConf.load(conf_dir() / f"{name}.yaml")
    for group in SEVERAL:
        files = [file.stem for f in folders for file in sorted((f / group).glob("*.yaml"))]
        usual = [entry[group] for entry in main.defaults if entry != "_self_" and group in entry]
        # The one taken by default, then the package's, then the user's: the first is the fitness.
        node = {"defaults": list(dict.fromkeys([*usual, *files]))}
        ConfigStore.instance().store(group=group, name="all", node=node, provider="diswot")
    _register()


def _register() -> None:
    """Tell this process how run directories are named, ``${diswot.run_name:}``."""
    from omegaconf import OmegaConf

    OmegaConf.register_new_resolver("diswot.run_name", _run_name, replace=True)


def _config_dirs(argv: Sequence[str]) -> Iterator[Path]:
    for argument, following in zip_longest(argv, argv[1:], fillvalue=""):
        if argument in ("--config-dir", "-cd"):
            yield Path(following)
        elif argument.startswith("--config-dir="):
            yield Path(argument.partition("=")[2])


def _run_name(*, _root_: DictConfig) -> str:
    """A folder name that is the same for the same settings and another for others.

    The parts of a sharded run are folders of their own in one folder.
    """
    from omegaconf import OmegaConf

    from diswot.keys import stable_hash

    root = OmegaConf.masked_copy(_root_, [str(key) for key in _root_ if key != "hydra"])
    config = to_plain(root)
    shard = config.pop("shard", None)
    words = _words_of_training(config) if "protocol" in config else _words_of_scoring(config)
    words += [f"seed{config['seed']}", f"{stable_hash(identity(config), bits=32):08x}"]
    name = "-".join(map(str, words))
    return name if shard is None else f"{name}/shard{str(shard).replace('/', 'of')}"


def _words_of_scoring(config: dict[str, Any]) -> list[str]:
    require(config, "space", "teacher")
    proxies = list(config.get("proxy") or ())
    return [
        config["space"]["name"],
        config["teacher"]["name"],
        "+".join(proxies) if len(proxies) <= _NAMED else f"{len(proxies)}-proxies",
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


@contextmanager
def _argv(name: str, argv: Sequence[str]) -> Iterator[None]:
    """Hydra reads ``sys.argv``, and hides tracebacks itself unless told to raise."""
    before, full = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    # Hydra refuses overrides on both sides of an option: options first.
    overrides = [word for word in argv if "=" in word and not word.startswith("-")]
    options = [word for word in argv if word not in overrides]
    sys.argv = [f"diswot {name}", *options, *overrides]
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        yield
    finally:
        sys.argv = before
        if full is None:
            del os.environ["HYDRA_FULL_ERROR"]
        else:
            os.environ["HYDRA_FULL_ERROR"] = full


def _debugging(argv: Sequence[str]) -> bool:
    return "debug=true" in (argument.lower().lstrip("+") for argument in argv)


def message(error: BaseException) -> str:
    """The error's text; Hydra keeps part of its own in the cause."""
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    missing = str(getattr(error, "missing_cfg_file", None))
    if missing.startswith("benchmark/"):
        known = ", ".join(getattr(error, "options", None) or ())
        return f"there is no benchmark {missing[10:]}; accuracies are known of {known}"
    if missing in _EXTRAS:
        extra = _EXTRAS[missing]
        return f"{missing}: its package is not installed; pip install 'diswot[{extra}]'"
    lines = [str(error).strip()]
    cause = error.__cause__
    if cause is not None and not isinstance(error, UserError) and str(cause) not in lines[0]:
        lines.append(str(cause).strip())
    return "\n".join(line for line in lines if line) or type(error).__name__
