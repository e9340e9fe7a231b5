from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from table_helpers import write_table

from diswot.errors import UserError
from diswot.tables import Spec
from diswot.tables.__main__ import main


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"tilte": "x"}, "unknown field `tilte`; its keys are title"),
        *(({"kind": kind}, "$.kind") for kind in ("losses", ["searches"])),
        *(({"title": title}, "$.title") for title in ("", None)),
        ({"row": "{proxy.__class__}"}, "its fields may be {space}"),
        *(({"row": f"{{{x}}}"}, "its fields may be") for x in ("proxy!r", "proxy:>10", "")),
        ({"row": "{proxy"}, "expected '}'"),
        ({"column": "{found_by}"}, "its fields may be"),
        ({"where": {"distiller": "kd"}}, "where: distiller is not known"),
        ({"where": {"statistic": ["top1"]}}, "top1 is not known; allowed are accuracy"),
        *(({"where": {"dataset": value}}, "$.where[...]") for value in ({"a": "b"}, [])),
        ({"where": ["statistic"]}, "$.where"),
        ({"names": {"a": 1}}, "$.names[...]"),
        ({"commands": ["rm -rf /"]}, "commands are search, rank, train"),
        ({"small": [" "]}, "commands are"),
        ({"sums": {"both": ["a", "b"]}}, "only kind correlations"),
        *(
            ({"kind": "correlations", "row": "{proxy}", "sums": {"x": terms}}, "sums")
            for terms in ({"mean": ["a"]}, {}, [], {"rank": []}, {"sum": ["a"], "rank": ["b"]})
        ),
        ({"conditions": ["seed"]}, "$.conditions"),
        ({"conditions": {"seed": []}}, "conditions.seed"),
        ({"conditions": {"data": {"batch_size": 64}}}, "give the dotted name of a setting"),
        ({"conditions": {"search": 5}}, "conditions.search"),
    ],
)
def test_what_is_not_allowed_is_named(
    tmp_path: Path, changes: dict[str, Any], problem: str
) -> None:
    with pytest.raises(UserError) as caught:
        Spec.load(write_table(tmp_path, **changes))
    assert problem in str(caught.value)
    assert str(tmp_path / "table.yaml") in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [b"- a\n- b\n", b"title: [", b"a: 1\na: 2\n", b"\xff\xfe\x00", b"x", b"title: a\nkind: b\n"],
)
def test_a_file_that_holds_no_settings_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "table.yaml").write_bytes(content)
    with pytest.raises(UserError, match=r"table\.yaml"):
        Spec.load(tmp_path)


def test_references_and_tags_stay_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "told")
    spec = Spec.load(write_table(tmp_path, title="${oc.env:SECRET}"))
    assert spec.title == "${oc.env:SECRET}"
    (tmp_path / "table.yaml").write_text("title: !!python/object/apply:os.getcwd []\n")
    with pytest.raises(UserError, match="cannot be read"):
        Spec.load(tmp_path)


def test_the_small_commands_are_printed_for_a_shell(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_table(tmp_path, small=["search experiment=a_small", "train experiment=b"])
    assert main([str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{sys.executable} -m diswot.search experiment=a_small",
        f"{sys.executable} -m diswot.train experiment=b",
    ]
    assert main([str(tmp_path / "none")]) == 2
    assert "table.yaml" in capsys.readouterr().err


def test_reading_a_table_loads_no_torch(tmp_path: Path) -> None:
    write_table(tmp_path)
    code = "import sys; from diswot.tables.__main__ import main; main(sys.argv[1:]); "
    code += "print('torch' in sys.modules)"
    found = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert found.stdout.split() == ["False"]
