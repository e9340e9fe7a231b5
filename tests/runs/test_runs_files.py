"""Files are there whole or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import NoReturn

import pytest

from diswot.errors import UserError
from diswot.runs.files import read_json, write_atomic, write_json


def full(*_: object) -> NoReturn:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("before", [b"old", None])
def test_a_failing_write_leaves_the_old_content_and_no_draft(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: bytes | None
) -> None:
    path = tmp_path / "state.json"
    if before is not None:
        path.write_bytes(before)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomic(path, b"new" * 10_000)
    assert [p.name for p in tmp_path.iterdir()] == ([] if before is None else ["state.json"])
    assert before is None or path.read_bytes() == before


def test_a_failing_replace_leaves_the_old_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state.json"
    path.write_bytes(b"old")
    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


def test_an_interrupted_write_leaves_no_draft(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(_: int) -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", stop)
    with pytest.raises(KeyboardInterrupt):
        write_atomic(tmp_path / "state.json", b"new")
    assert list(tmp_path.iterdir()) == []


def test_a_write_replaces_and_is_brought_to_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: (synced.append(handle), real(handle))[1])
    path = tmp_path / "state.json"
    write_json(path, {"a": "×"})
    write_json(path, {"a": 2})
    assert read_json(path, "") == {"a": 2}
    assert len(synced) == 4  # file and folder, twice
    assert [p.name for p in tmp_path.iterdir()] == ["state.json"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_json_is_strict(tmp_path: Path, value: float) -> None:
    path = tmp_path / "result.json"
    write_json(path, {"score": 1})
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(path, {"score": value})
    assert read_json(path, "") == {"score": 1}


@pytest.mark.parametrize("text", ["", '{"a": 1', "[1, 2]", "null", "\xff", "\x00\x00\x00"])
def test_damaged_json_is_one_message_with_path_and_hint(tmp_path: Path, text: str) -> None:
    path = tmp_path / "state.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=r"state.json is damaged \(.*\); mend it") as caught:
        read_json(path, "mend it")
    assert "\n" not in str(caught.value)


def test_a_link_in_place_of_the_draft_is_not_followed(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("kept")
    (tmp_path / ".page.tmp").symlink_to(other)
    write_atomic(tmp_path / "page", b"new")
    assert (other.read_text(), (tmp_path / "page").read_bytes()) == ("kept", b"new")
    assert not (tmp_path / "page").is_symlink()
