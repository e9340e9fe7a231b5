"""Wrong settings, refused keys, and loggers that fail while a run runs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from logger_helpers import SEARCH, steps

from diswot.errors import UserError
from diswot.hydra_app import compose
from diswot.loggers import Run
from diswot.loggers.several import Loggers
from diswot.search import run_search

KEY = "0123456789" * 4


def search(path: Path, *words: str) -> dict[str, Any]:
    return run_search(compose("search", [*SEARCH, *words], None), path, quiet=True)


class Refusing(BaseHTTPRequestHandler):
    """A server that knows no key, and says which it was given."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.send_response(401)
        self.end_headers()
        told = {"errors": [{"message": f"user is not logged in with {KEY}"}]}
        self.wfile.write(json.dumps(told).encode())

    def log_message(self, *_: Any) -> None:
        pass


class Accepting(BaseHTTPRequestHandler):
    """A server that takes every key and run, until it breaks down."""

    broken = False
    asked: ClassVar[list[str]] = []

    def do_POST(self) -> None:
        query = self.rfile.read(int(self.headers.get("content-length", 0))).decode(errors="replace")
        self.asked.append(query)
        project = {"id": "p", "name": "diswot", "entity": {"id": "e", "name": "me"}}
        bucket = {"id": "b", "name": "x", "displayName": "x", "config": "{}", "project": project}
        data: dict[str, Any] = {}
        if "RunResumeStatus" in query:
            data = {"model": {**project, "bucket": None}}
        elif "UpsertBucket" in query:
            data = {"upsertBucket": {"bucket": bucket, "inserted": True}}
        self.send_response(503 if Accepting.broken else 200)
        self.send_header("content-type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps({"data": data}).encode())

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def served(by: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), by) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(
    ("words", "env", "told"),
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
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError) as caught:
        search(tmp_path / "run", "logger=[csv,tensorboard,wandb]", *words)
    assert str(caught.value).startswith("logger.wandb")
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "foo bar" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_server_that_refuses_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    refused = r"401.*; give a valid key .*wandb\.mode=offline"
    with served(Refusing) as url:
        monkeypatch.setenv("WANDB_BASE_URL", url)
        with pytest.raises(UserError, match=refused) as caught:
            search(tmp_path / "run", "logger=wandb")
    assert KEY not in str(caught.value)
    assert not (tmp_path / "run").exists()
    assert search(tmp_path / "run", "logger=wandb", "logger.wandb.mode=offline")["evaluated"] == 25


@pytest.mark.parametrize("quiet", [False, True])
def test_that_it_connects_is_said_first(
    quiet: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def begin(**_: Any) -> None:
        said.append(capsys.readouterr().out)
        raise ConnectionError("no server")

    said: list[str] = []
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setattr("wandb.init", begin)
    config = compose("search", [*SEARCH, "logger=wandb"], None)
    loggers = Loggers(Run("search", tmp_path, config, "evaluated"), quiet=quiet)
    with pytest.raises(UserError, match="no server"):
        loggers.start()
    assert said == ["" if quiet else "wandb  connecting to W&B …\n"]


def test_a_table_longer_than_wandb_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = compose("search", [*SEARCH, "logger=wandb"], None)
    monkeypatch.setattr("wandb.Table.MAX_ROWS", 2)
    with Loggers(Run("search", tmp_path, config, "evaluated"), quiet=True) as loggers:
        with pytest.warns(UserWarning, match=r"logger wandb: .* first 2 of 3 rows of candidates;"):
            loggers.finished({}, [], {"candidates": (["arch"], [["a"], ["b"], ["c"]])})
        (file,) = (tmp_path / "wandb").glob("offline-run-*/files/media/table/*.json")
        assert json.loads(file.read_text())["data"] == [["a"], ["b"]]


def test_a_server_that_breaks_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key makes it online; the end waits, but not for ever."""
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    config = compose("search", [*SEARCH, "logger=wandb", "logger.wandb.wait=1"], None)
    loggers = Loggers(Run("search", tmp_path, config, "evaluated"), quiet=True)
    with served(Accepting) as url:
        monkeypatch.setenv("WANDB_BASE_URL", url)
        loggers.start()
        loggers.log({"best": 1.0}, 10)
        monkeypatch.setattr(Accepting, "broken", True)
        with pytest.warns(UserWarning, match="logger wandb failed .*Timed out"):
            loggers.__exit__(None, None, None)
    assert any("UpsertBucket" in query and "strategy:random" in query for query in Accepting.asked)
    assert not list((tmp_path / "wandb").glob("offline-*"))


def test_tensorboard_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("diswot.loggers.tensorboard.find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"pip install diswot\[tensorboard\]"):
        search(tmp_path / "run", "logger=tensorboard")


def test_another_file_of_that_name(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match=r"log\.csv was not written by logger=csv; remove it"):
        search(tmp_path, "logger=csv")
    assert [file.name for file in tmp_path.iterdir() if file.name != "run.lock"] == ["log.csv"]


@pytest.mark.parametrize("words", [["logger=sideways"], ["++logger=5"], ["+logger.x=3"]])
def test_no_logger(words: list[str], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="logger"):
        search(tmp_path / "run", *words)


def odd(how: str) -> list[str]:
    return ["logger=csv", f"+logger.odd={{_target_:logger_plugins.Odd,name:odd,how:{how}}}"]


def test_a_logger_that_gives_up(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=r"logger odd failed \(ValueError: gone\); the run goes"):
        search(tmp_path, *odd("gone"))
    assert [step for step, _ in steps(tmp_path, "best")] == [10, 20, 25]


def test_a_full_disk(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="disk full"):
        search(tmp_path, *odd("full"))
    assert not (tmp_path / "result.json").exists()
    assert search(tmp_path, "logger=csv")["evaluated"] == 25


def test_wandb_whose_service_dies(tmp_path: Path) -> None:
    config = compose("search", [*SEARCH, "logger=[csv,wandb]"], None)
    hooks, alive = (sys.exit, sys.excepthook), dict(os.environ)
    with Loggers(Run("search", tmp_path, config, "evaluated"), quiet=True) as loggers:
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
        "import json, sys; from pathlib import Path; import diswot.loggers.search\n"
        "from diswot.loggers import Run; from diswot.loggers.several import Loggers\n"
        "run = Run('search', Path(), json.load(sys.stdin), 'evaluated')\n"
        "with Loggers(run, quiet=True) as loggers:\n"
        "    loggers.start(), loggers.log({'best': 1.0}, 10), loggers.finished({}, [], {})\n"
        "assert not {'wandb', 'tensorboard', 'diswot.loggers.wandb'} & set(sys.modules)\n"
    )
    told = json.dumps(config).encode()
    subprocess.run([sys.executable, "-c", code], input=told, cwd=tmp_path, check=True)
    assert not list(tmp_path.iterdir())
