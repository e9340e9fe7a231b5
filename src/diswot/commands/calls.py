"""Config and run directory of a call from Python."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from diswot.commands.app import compose, quote
from diswot.config import conf_dir

Folder = str | Path


def config_folders(config_dir: Folder | None) -> list[Path]:
    """The folders of configs: the package's, and one of the user's."""
    return [conf_dir(), *([Path(config_dir)] if config_dir else [])]


@contextmanager
def given_config(
    command: str, settings: Mapping[str, Any], overrides: Iterable[str], folder: Folder | None
) -> Iterator[dict[str, Any]]:
    """The config of a command, which names the objects among the settings, while it runs."""
    from diswot.given import named

    objects = objects_of(settings)
    left_out = {*objects, *(n for n in ("data", "test_data") if settings.get(n) is None)}
    words = [f"{name}={_word(value)}" for name, value in settings.items() if name not in left_out]
    words += [f"~{role}" for role in ("teacher", "student") if role in objects]
    words += ["data=npz"] if "data" in objects else []
    with named(compose(command, [*words, *overrides], folder), objects) as config:
        yield config


@contextmanager
def call(
    command: str,
    settings: Mapping[str, Any],
    overrides: Iterable[str],
    folder: Folder | None,
    run_dir: Folder | None,
) -> Iterator[tuple[dict[str, Any], Path]]:
    """The config, see `given_config`, and the run directory: a temporary one if none is named."""
    begun = given_config(command, settings, overrides, folder)
    with begun as config, TemporaryDirectory(prefix="diswot-") as temporary:
        yield config, Path(run_dir or temporary)


def objects_of(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that are images or modules instead of names."""
    among = {name: settings.get(name) for name in ("data", "test_data", "teacher", "student")}
    return {name: each for name, each in among.items() if not isinstance(each, str | None)}


def _word(value: Any) -> str:
    if isinstance(value, str):
        return quote(value)
    if isinstance(value, Sequence):
        return f"[{','.join(map(_word, value))}]"
    return "null" if value is None else str(value)  # True and False are true and false to Hydra


def shared_with(
    search: Mapping[str, Any], race: Mapping[str, Any], settings: Iterable[str]
) -> dict[str, Any]:
    """Space, teacher and data of a search's config, for the race of what it found.

    Not those that ``settings``, names or words of a command line, choose; a setting of one of them,
    such as ``data.num_workers=2``, is that of the race.
    """
    named = {word.partition("=")[0].lstrip("+") for word in settings}
    named |= {"data.batch_size", "data.shuffle_seed"}
    nodes: dict[str, Any] = {}
    for group in {"space", "teacher", "data"} - named:
        own = {key for key in race.get(group) or () if f"{group}.{key}" in named}
        nodes[group] = {**search[group], **{key: race[group][key] for key in own}}
    return nodes
