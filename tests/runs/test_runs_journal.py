"""The append-only journal; other files are there whole or not at all."""

import errno
import json
import os
import re
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NoReturn

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diswot.errors import UnreadableError, UserError
from diswot.runs import CandidateRecord, Journal, ScoreRecord
from diswot.runs.files import read_json, write_atomic, write_json

PARTS = {"semantic": -0.125, "relation": -0.125}
SIZES = (3, 4, 5)
RECORD = CandidateRecord("s0:1", -0.25, PARTS, {"nwot": None}, *SIZES, "ok", None, 0, False, 0.5)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
SCORES = st.dictionaries(st.text(), FINITE, max_size=3)
COUNT = st.none() | st.integers(0, 10**15)
RECORDS = st.builds(
    CandidateRecord,
    arch=st.text(),
    score=st.none() | FINITE,
    parts=SCORES,
    others=st.dictionaries(st.text(), st.none() | SCORES, max_size=3),
    **dict.fromkeys(("params", "flops", "layers"), COUNT),
    status=st.sampled_from(["ok", "failed"]),
    reason=st.none() | st.text(),
    generation=st.integers(0, 10**6),
    cached=st.booleans(),
    seconds=st.floats(0, 1e6),
)


def written(path: Path, records: list[CandidateRecord]) -> Journal[CandidateRecord]:
    journal = Journal(path, CandidateRecord)
    for record in records:
        journal.append(record)
    journal.close()
    return journal


@settings(max_examples=60, deadline=None)
@given(records=st.lists(RECORDS, max_size=5))
def test_round_trip_bit_for_bit(records: list[CandidateRecord]) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "candidates.jsonl"
        read = written(path, records).read()
        assert [record for record, _ in read] == records
        assert [repr(record.score) for record, _ in read] == [repr(r.score) for r in records]
        assert [end for _, end in read][-1:] == ([path.stat().st_size] if records else [])


@settings(max_examples=200, deadline=None)
@given(
    records=st.lists(RECORDS, min_size=1, max_size=4),
    data=st.data(),
    byte=st.sampled_from(b'0123456789-."{},:\n ae\0\xff'),
)
def test_a_changed_byte_is_noticed(
    records: list[CandidateRecord], data: st.DataObject, byte: int
) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "candidates.jsonl"
        journal = written(path, records)
        content = bytearray(path.read_bytes())
        content[data.draw(st.integers(0, len(content) - 1))] = byte
        path.write_bytes(content)
        try:
            read = [record for record, _ in journal.read()]
        except UnreadableError:
            return
        # The same byte or another white space, or the last line is torn.
        assert read in (records, records[:-1])


def test_lines_of_earlier_versions_have_no_checksum(tmp_path: Path) -> None:
    journal = written(tmp_path / "candidates.jsonl", [RECORD, RECORD])
    lines = journal.path.read_bytes().splitlines(keepends=True)
    old = re.sub(rb',"crc32":\d+', b"", lines[0])
    journal.path.write_bytes(old + lines[1])
    assert journal.peek() == [RECORD, RECORD]
    journal.path.write_bytes(lines[0] + old)
    with pytest.raises(UserError, match=r"line 2 .*it has no checksum, but a line before it has"):
        journal.peek()
    journal.path.write_bytes(lines[0].replace(b"0.25", b"0.26"))
    with pytest.raises(UserError, match=r"line 1 .*its checksum is that of another content"):
        journal.peek()


@settings(max_examples=40, deadline=None)
@given(records=st.lists(RECORDS, min_size=1, max_size=4), data=st.data())
def test_a_journal_cut_anywhere_keeps_every_whole_line_and_goes_on(
    records: list[CandidateRecord], data: st.DataObject
) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "candidates.jsonl"
        whole = written(path, records).read()
        cut = data.draw(st.integers(0, path.stat().st_size))
        with path.open("r+b") as file:
            file.truncate(cut)
        kept = [(record, end) for record, end in whole if end <= cut]
        assert Journal(path, CandidateRecord).peek() == [record for record, _ in kept]
        assert path.stat().st_size == cut
        assert Journal(path, CandidateRecord).read() == kept
        assert path.stat().st_size == (kept[-1][1] if kept else 0)
        assert [r for r, _ in written(path, [RECORD]).read()] == [*(r for r, _ in kept), RECORD]


NESTED = '{"a":' * 300 + "1" + "}" * 300
DEEP = b'{"further": ' + b"[" * 20_000


@pytest.mark.parametrize(
    "line", [b"", b"{", b"null", b"[1]", b'{"arch": "s0:1-1-1"}', b"\xff\xfe", DEEP]
)
def test_a_damaged_line_in_the_middle_names_its_number(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "candidates.jsonl"
    written(path, [RECORD] * 3)
    first, _, *others = path.read_bytes().split(b"\n")
    before = b"\n".join([first, line, *others])
    path.write_bytes(before)
    with pytest.raises(UserError, match=r"candidates.jsonl, line 2 is damaged") as caught:
        Journal(path, CandidateRecord).read()
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == before


def test_a_line_is_in_the_file_when_append_returns(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "candidates.jsonl", CandidateRecord)
    assert (journal.read(), journal.length) == ([], 0)
    journal.append(RECORD)
    before = journal.path.read_bytes()
    assert len(Journal(journal.path, CandidateRecord).read()) == 1
    for value in (float("nan"), float("inf"), -float("inf")):
        for wrong in (replace(RECORD, score=value), replace(RECORD, others={"a": {"a": value}})):
            with pytest.raises(ValueError, match="JSON compliant"):
                journal.append(wrong)
    assert journal.length == len(before)
    journal.close()
    assert journal.path.read_bytes() == before


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("parts", value) for value in ({"nwot": {"nwot": "x"}}, {"nwot": 1.0}, [1.0])),
        *(("seed", value) for value in (1.5, True)),
        *(("seconds", {"nwot": None}), ("failures", {"nwot": 3})),
        *(("params", "many"), ("arch", None)),
    ],
)
def test_values_of_another_type_are_damage(tmp_path: Path, field: str, value: object) -> None:
    whole: dict[str, object] = {
        **{"arch": "s0:1-1-1", "seed": 0, "parts": {"nwot": {"nwot": 1.5}}, "failures": {}},
        **{"params": 3, "flops": None, "layers": 2, "seconds": {"nwot": 1}},
    }
    path = tmp_path / ScoreRecord.file
    path.write_text(json.dumps(whole) + "\n")
    assert len(Journal(path, ScoreRecord).read()) == 1
    path.write_text(json.dumps({**whole, field: value}) + "\n")
    with pytest.raises(UserError, match=rf"line 1 is damaged \(Expected .*at `\$\.{field}"):
        Journal(path, ScoreRecord).read()


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


def test_an_error_names_the_file_that_was_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python's own errors of open files name none."""
    journal = Journal(tmp_path / "candidates.jsonl", CandidateRecord)
    journal.append(RECORD)

    def fail(_: int) -> NoReturn:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        for act in (lambda: journal.cut(3), journal.close):
            with pytest.raises(OSError, match=r"candidates\.jsonl"):
                act()
    real, handles = os.fsync, iter(range(2))

    def fail_of_folder(handle: int) -> None:
        if next(handles):  # after the file itself
            raise OSError(errno.EIO, "Input/output error")
        real(handle)

    monkeypatch.setattr(os, "fsync", fail_of_folder)
    with pytest.raises(OSError, match=str(tmp_path)):
        write_atomic(tmp_path / "page", b"new")


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


@pytest.mark.parametrize("text", ["", '{"a": 1', "[1, 2]", "null", "\xff", "\x00\x00\x00", NESTED])
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
