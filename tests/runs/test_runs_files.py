"""Files are there whole or not at all."""

import errno
import os
from pathlib import Path
from typing import NoReturn

import pytest

from diswot.errors import UserError
from diswot.runs.files import read_json, write_atomic, write_json

FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("before", [b"old", None])
@pytest.mark.parametrize(
    "failing", [(os, "fsync", FULL), (Path, "replace", FULL), (os, "fsync", KeyboardInterrupt())]
)
def test_a_failing_write_leaves_the_old_content_and_no_draft(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    before: bytes | None,
    failing: tuple[object, str, BaseException],
) -> None:
    owner, step, error = failing

    def fail(*_: object) -> NoReturn:
        raise error

    path = tmp_path / "state.json"
    if before is not None:
        path.write_bytes(before)
    monkeypatch.setattr(owner, step, fail)
    with pytest.raises(type(error)):
        write_atomic(path, b"new" * 10_000)
    assert [p.read_bytes() for p in tmp_path.iterdir()] == ([] if before is None else [before])


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
    for value in (float("nan"), float("inf"), -float("inf")):
        with pytest.raises(ValueError, match="JSON compliant"):
            write_json(path, {"score": value})
    assert read_json(path, "") == {"a": 2}
    assert [p.name for p in tmp_path.iterdir()] == ["state.json"]


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
