"""One real search, training and ranking with every logger, and the same without."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from logger_helpers import MEMBERS, RANK, SEARCH, TRAIN, Pair

from diswot.commands import compose
from diswot.config import conf_dir
from diswot.rank import run_rank
from diswot.search import run_search
from diswot.train import run_train


@pytest.fixture(scope="session", autouse=True)
def nobody(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No key, no setting of who runs the tests: nothing is ever sent."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("API_KEY", "MODE", "PROJECT", "ENTITY", "SERVICE", "IDENTITY_TOKEN_FILE"):
            patch.delenv(f"WANDB_{name}", raising=False)
        patch.setenv("NETRC", str(home / "netrc"))
        patch.setenv("WANDB_CONFIG_DIR", str(home / "config"))
        patch.setenv("HOME", str(home))
        yield


def pair(folder: Path, run: Callable[..., object], words: list[str], *extra: Any) -> Pair:
    both, command = Pair(folder / "logged", folder / "plain"), run.__name__.removeprefix("run_")
    for path, loggers in ((both.logged, [f"logger=[{','.join(MEMBERS)}]"]), (both.plain, [])):
        run(compose(command, [*words, *loggers], None), path, *extra, quiet=True)
    return both


@pytest.fixture(scope="session")
def searched(nobody: None, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return pair(tmp_path_factory.mktemp("search"), run_search, SEARCH)


@pytest.fixture(scope="session")
def trained(nobody: None, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return pair(tmp_path_factory.mktemp("train"), run_train, TRAIN, [conf_dir()])


@pytest.fixture(scope="session")
def ranked(nobody: None, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return pair(tmp_path_factory.mktemp("rank"), run_rank, RANK)
