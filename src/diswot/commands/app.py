"""The Hydra app of a command, and its config without one."""

import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

from diswot.commands import naming
from diswot.commands.errors import exit_code, hydra_errors, unknown_setting
from diswot.commands.naming import translated
from diswot.commands.task import Launch, Task, named, prepare_process, sweep_summary
from diswot.config import conf_dir, with_members
from diswot.errors import UserError

_SEVERAL = ("proxy", "distiller", "logger")
"""Groups that can hold several members at once."""

_NEEDED = (
    *("data.batch_size", "space.name", "strategy.evaluations", "strategy.name", "student.name"),
    *("student.network", "teacher.name", "teacher.network", "teacher.weights"),
)
"""Settings that no command can do without, beside those of its main config."""

_VALUED = (
    *("--cfg", "-c", "--package", "-p", "--config-path", "-cp", "--config-name", "-cn"),
    *("--config-dir", "-cd", "--experimental-rerun"),
)
"""Options of Hydra that take the next word as their value."""


def run_app(
    name: str,
    job: Callable[[Launch], object],
    argv: Sequence[str] | None = None,
    *,
    swept: Callable[[Mapping[str, Path]], object] | None = None,
    first: str | None = None,
) -> int:
    """Run a command as a Hydra app and turn what goes wrong into one message.

    ``name`` is that of the command and of ``conf/<name>.yaml``; what ``job``, called once a run,
    returns goes to Hydra's sweeper; ``argv`` is by default the command line. ``swept`` is called
    with the results of a sweep's jobs that ran in this process, by what tells them apart.
    The setting ``first`` may be given by its value alone. Gives the exit code: 0, 2 for wrong
    input, 130 after Ctrl-C.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if first:
        words = _with_first(words, first)
    task = Task(name, job)

    def start() -> None:
        import hydra

        prepare_process()
        options, overrides = _split(words)
        folders = _config_dirs(options)
        overrides = _current(name, overrides, folders)
        _store_all(name, folders)
        app = hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=name)
        try:
            with _command_line([f"diswot {name}", *options, *overrides]), hydra_errors():
                app(task)()
        except (UserError, OSError) as error:
            if not task.failed:
                raise
            raise UserError(sweep_summary(task.jobs, task.failed)) from error
        finally:
            if swept and len(task.jobs) > 1:
                files = (path / "result.json" for path in task.paths)
                swept({named(task.jobs, n): f for n, f in enumerate(files) if f.is_file()})
        if task.refused:
            raise task.refused

    # A config that cannot be composed says nothing of debug: the words do.
    asked = "debug=true" in (word.lower().lstrip("+") for word in words)
    return exit_code(name, start, debug=lambda: asked or task.debug)


def compose(name: str, overrides: Sequence[str], config_dir: str | Path | None) -> dict[str, Any]:
    """The resolved config of a command, as plain values.

    A UserError with Hydra's text, which lists what is allowed, says why it cannot be composed.
    """
    import hydra

    naming.register()
    further = [Path(config_dir)] if config_dir else []
    words = _current(name, overrides, further)
    words += [f"hydra.searchpath=[{quote(f'file://{path.resolve()}')}]" for path in further]
    _store_all(name, further)
    begun = {"version_base": "1.3", "job_name": name}
    with hydra_errors(), hydra.initialize_config_dir(str(conf_dir()), **begun):
        return with_members(naming.plain(hydra.compose(name, words)), [conf_dir(), *further])


def quote(text: str) -> str:
    """``text`` as a value of Hydra's command-line grammar that is taken literally."""
    if re.fullmatch(r"[\w./:+-]+", text):
        return text
    escaped = re.sub(r"(\\*)('|$)", lambda m: m[1] * 2 + (m[2] and "\\'"), text)
    return f"'{escaped}'"


def _current(name: str, overrides: Sequence[str], further: Sequence[Path]) -> list[str]:
    """Settings as this version spells them; those of every command and of every call pass here.

    ``further`` are the user's folders of configs.
    """
    _check_words(name, overrides, further)
    words = naming.with_teacher_input(overrides)
    if name != "train":
        return words
    words, notices = translated(words)
    for notice in notices:
        sys.stderr.write(f"diswot train: {notice}\n")
    return words


def _check_words(name: str, overrides: Sequence[str], further: Sequence[Path]) -> None:
    """Refuse what Hydra takes without a word, though no command can do anything with it.

    That is a setting which is needed and left out, one that is added at the top, where nothing
    reads it, and a list with a name twice.
    """
    from omegaconf import OmegaConf

    main = OmegaConf.load(conf_dir() / f"{name}.yaml")
    own = [str(key) for key in main if key != "defaults"]
    chosen = [str(key) for entry in main.defaults if entry != "_self_" for key in entry]
    groups = [re.sub(r"^(optional|override) |/.*", "", key) for key in chosen]
    groups += [path.name for folder in further for path in folder.glob("*/")]
    needed = {*_NEEDED, *(key for key in own if not (conf_dir() / key).is_dir())}
    for word in overrides:
        setting, _, value = word.lstrip("+~").partition("=")
        if word.startswith("~") and setting in needed:
            raise UserError(f"{word}: {setting} cannot be left out; --help shows what it may be")
        top = re.split("[./@]", setting)[0]
        if word.startswith("+") and top not in {*own, *groups}:
            raise UserError(f"{word}: {unknown_setting(top, [*own, *groups])}")
        names = value.strip("[]").replace(" ", "").split(",") if setting in _SEVERAL else []
        if value.startswith("[") and (twice := [each for each in names if names.count(each) > 1]):
            raise UserError(f"{word}: {twice[0]} is there twice")


def _with_first(words: Sequence[str], setting: str) -> list[str]:
    """Name the setting of the first word that is no option, its value or a setting."""
    for number, word in enumerate(words):
        alone = not word.startswith(("-", "~")) and ("=" not in word or Path(word).is_dir())
        if alone and (not number or words[number - 1] not in _VALUED):
            return [
                *words[:number],
                f"{setting}={quote(word.rstrip('/') or word)}",
                *words[number + 1 :],
            ]
    return list(words)


def _split(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Hydra's options, with their values, and settings; Hydra wants these side by side."""
    options, overrides = list[str](), list[str]()
    rest = iter(words)
    for word in rest:
        setting = not word.startswith("-") and (word.startswith("~") or "=" in word)
        (overrides if setting else options).append(word)
        if word in _VALUED:
            options += islice(rest, 1)
    return options, overrides


def _config_dirs(options: Sequence[str]) -> list[Path]:
    given = [word.partition("=")[2] for word in options if word.startswith("--config-dir=")]
    given += [value for option, value in pairwise(options) if option in ("--config-dir", "-cd")]
    return list(map(Path, given))


def _store_all(name: str, further: Sequence[Path]) -> None:
    """Tell Hydra what the folders of configs cannot: ``<group>=all``."""
    from hydra.core.config_store import ConfigStore
    from omegaconf import OmegaConf

    main = OmegaConf.load(conf_dir() / f"{name}.yaml")
    for group in _SEVERAL:
        folders = [folder / group for folder in (conf_dir(), *further)]
        files = [file.stem for folder in folders for file in sorted(folder.glob("*.yaml"))]
        given = [entry[group] for entry in main.defaults if entry != "_self_" and group in entry]
        usual = [name for one in given for name in ([one] if isinstance(one, str) else one)]
        # The one taken by default, then the package's, then the user's: the first is the fitness.
        node = {"defaults": list(dict.fromkeys([*usual, *files]))}
        ConfigStore.instance().store(group=group, name="all", node=node, provider="diswot")


@contextmanager
def _command_line(words: list[str]) -> Iterator[None]:
    """Hydra reads ``sys.argv``, and hides tracebacks itself unless told to raise."""
    before, full = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    sys.argv, os.environ["HYDRA_FULL_ERROR"] = words, "1"
    try:
        yield
    finally:
        sys.argv = before
        del os.environ["HYDRA_FULL_ERROR"]
        os.environ.update({} if full is None else {"HYDRA_FULL_ERROR": full})
