"""Wrong settings, refused keys, and loggers that fail while a run runs."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
import pytest
from logger_helpers import SEARCH, steps

from diswot.commands import compose
from diswot.errors import UserError
from diswot.loggers import LoggedRun, Loggers
from diswot.runs import SearchSummary
from diswot.search import run_search

KEY = "0123456789" * 4


def search(path: Path, *words: str) -> SearchSummary:
    return run_search(compose("search", [*SEARCH, *words], None), path, quiet=True)


class Server(BaseHTTPRequestHandler):
    """Takes every key and run while its status is 200; a refusal names the key."""

    status = 200
    queries: ClassVar[list[str]] = []

    def do_POST(self) -> None:
        query = self.rfile.read(int(self.headers.get("content-length", 0))).decode(errors="replace")
        self.queries.append(query)
        project = {"id": "p", "name": "diswot", "entity": {"id": "e", "name": "me"}}
        bucket = {"id": "b", "name": "x", "displayName": "x", "config": "{}", "project": project}
        answer: dict[str, Any] = {"data": {}}
        if self.status == 401:
            answer = {"errors": [{"message": f"user is not logged in with {KEY}"}]}
        elif "RunResumeStatus" in query:
            answer["data"] = {"model": {**project, "bucket": None}}
        elif "UpsertBucket" in query:
            answer["data"] = {"upsertBucket": {"bucket": bucket, "inserted": True}}
        self.send_response(self.status)
        self.send_header("content-type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Server]]:
    """W&B's server, and a key that makes runs online."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{http.server_port}")
        monkeypatch.setattr(Server, "status", 200)
        yield Server
        http.shutdown()


def loggers_of(path: Path, *words: str) -> Loggers:
    config = compose("search", [*SEARCH, *words], None)
    return Loggers(LoggedRun("search", path, config, "evaluated"), quiet=True)


@pytest.mark.parametrize(
    ("words", "env", "message"),
    [
        (["logger.wandb.mode=sideways"], {}, "logger.wandb.mode=sideways: allowed are auto, onl"),
        (["logger.wandb.project='a/b'"], {}, "Invalid project name 'a/b'"),
        (["logger.wandb.project="], {}, "logger.wandb.project is empty; give a name"),
        ([], {"WANDB_PROJECT": " "}, "logger.wandb.project is empty; give a name"),
        ([], {"WANDB_MODE": "sideways"}, "refuses its settings (mode: Input should be 'online',"),
        ([], {"WANDB_API_KEY": "foo bar"}, "WANDB_API_KEY invalid: API key may only contain"),
    ],
)
def test_wandb_settings(
    words: list[str],
    env: dict[str, str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError) as caught:
        search(tmp_path / "run", "logger=[csv,tensorboard,wandb]", *words)
    (line,) = str(caught.value).splitlines()
    assert line.startswith("logger.wandb")
    assert message in line
    assert "foo bar" not in line
    assert not (tmp_path / "run").exists()


def test_a_server_that_refuses_the_key(server: type[Server], tmp_path: Path) -> None:
    server.status = 401
    refused = r"401.*; give a valid key .*wandb\.mode=offline"
    with pytest.raises(UserError, match=refused) as caught:
        search(tmp_path / "run", "logger=wandb")
    assert KEY not in str(caught.value)
    assert not (tmp_path / "run").exists()
    assert search(tmp_path / "run", "logger=wandb", "logger.wandb.mode=offline").evaluated == 25


def test_a_table_longer_than_wandb_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wandb.Table.MAX_ROWS", 2)
    table = pd.DataFrame({"arch": ["a", "b", "c"]})
    with loggers_of(tmp_path, "logger=wandb") as loggers:
        with pytest.warns(UserWarning, match=r"logger wandb: .* first 2 of 3 rows of candidates;"):
            loggers.finished({}, [], {"candidates": table})
        (file,) = (tmp_path / "wandb").glob("offline-run-*/files/media/table/tables/*.json")
        assert json.loads(file.read_text())["data"] == [["a"], ["b"]]


def test_a_server_that_breaks_down(server: type[Server], tmp_path: Path) -> None:
    """The end waits, but not for ever."""
    loggers = loggers_of(tmp_path, "logger=wandb", "logger.wandb.settings.finish_timeout=1")
    loggers.start()
    loggers.log({"best": 1.0}, 10)
    server.status = 503
    with pytest.warns(UserWarning, match="logger wandb failed .*Timed out"):
        loggers.__exit__(None, None, None)
    assert any("UpsertBucket" in query and "strategy:random" in query for query in server.queries)
    assert not list((tmp_path / "wandb").glob("offline-*"))


def test_a_package_that_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightning.fabric.loggers.tensorboard._TENSORBOARD_AVAILABLE", False)
    monkeypatch.setattr("lightning.fabric.loggers.tensorboard._TENSORBOARDX_AVAILABLE", False)
    with pytest.raises(UserError, match=r"^logger\.tensorboard: .* Try `pip install`ing either"):
        search(tmp_path / "run", "logger=tensorboard")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("words", [["logger=sideways"], ["++logger=5"], ["+logger.x=3"]])
def test_no_logger(words: list[str], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="logger"):
        search(tmp_path / "run", *words)


def odd(how: str) -> list[str]:
    return ["logger=csv", f"+logger.odd={{_target_:logger_plugins.Odd,how:{how}}}"]


def test_a_logger_that_gives_up(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=r"logger odd failed \(ValueError: gone\); the run goes"):
        search(tmp_path, *odd("gone"))
    assert [step for step, _ in steps(tmp_path, "best")] == [10, 20, 25]


def test_a_full_disk(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="disk full"):
        search(tmp_path, *odd("full"))
    assert not (tmp_path / "result.json").exists()
    assert search(tmp_path, "logger=csv").evaluated == 25


def test_wandb_whose_service_dies(tmp_path: Path) -> None:
    hooks, alive = (sys.exit, sys.excepthook), dict(os.environ)
    with loggers_of(tmp_path, "logger=[csv,wandb]") as loggers:
        loggers.start()
        loggers.log({"best": 1.0}, 10)
        service = ["pgrep", "-P", str(os.getpid()), "wandb-core"]
        os.kill(int(subprocess.check_output(service)), signal.SIGKILL)
        time.sleep(0.3)
        with pytest.warns(UserWarning, match="logger wandb failed"):
            loggers.log({"best": 2.0}, 20)
        loggers.log({"best": 3.0}, 30)
    assert steps(tmp_path, "best") == [(10, 1.0), (20, 2.0), (30, 3.0)]
    assert (sys.exit, sys.excepthook) == hooks
    assert dict(os.environ) == alive


def test_without_loggers_nothing_is_imported(tmp_path: Path) -> None:
    config = compose("search", SEARCH, None)
    code = (
        "import json, sys; from pathlib import Path; import diswot.loggers.followers\n"
        "from diswot.loggers import LoggedRun, Loggers\n"
        "run = LoggedRun('search', Path(), json.load(sys.stdin), 'evaluated')\n"
        "with Loggers(run, quiet=True) as loggers:\n"
        "    loggers.start(), loggers.log({'best': 1.0}, 10), loggers.finished({}, [], {})\n"
        "assert not {'wandb', 'tensorboard', 'lightning'} & set(sys.modules)\n"
    )
    given = json.dumps(config).encode()
    subprocess.run([sys.executable, "-c", code], input=given, cwd=tmp_path, check=True)
    assert not list(tmp_path.iterdir())
