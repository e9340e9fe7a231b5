import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from table_helpers import write_csv, write_table

from diswot.errors import UserError
from diswot.tables import Cell, Spec, Table, load_table, to_markdown
from diswot.tables.__main__ import main

PAPER = "row,column,value,std,unit,source,note"
RESULTS = "row,column,value,std,low,high,seeds,scale,date,runs"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_table(tmp_path)
    write_csv(
        tmp_path / "paper.csv",
        PAPER,
        ["theirs", "top-1", 74.21, "", "%", "repo:file@abc", "figure data"],
        ["ours", "top-1", "73.50", "0.3", "%", "repo:file@abc", "figure data"],
        ["ours", "seconds", "", "", "", "", "could not be sourced"],
    )
    write_csv(
        tmp_path / "results.csv",
        RESULTS,
        ["ours", "top-1", 71.234, 0.5, "", "", 3, "tiny", "2024-01-02", 3],
        ["ours", "τ", -0.25, "", -0.5, 0.125, 1, "tiny", "2024-01-03", 1],
        ["broken", "τ", "", "", "", "", 2, "tiny", "2024-01-03", 1],
    )
    return tmp_path


def test_ours_and_theirs_share_a_cell(folder: Path) -> None:
    table = load_table(folder)
    assert table.rows == ("ours", "broken", "theirs")
    assert table.columns == ("top-1", "τ", "seconds")
    assert (table.name, table.scale, table.date) == (folder.name, "tiny", "2024-01-03")
    published = ("repo:file@abc", "figure data", "%", "73.50 ± 0.3")
    both = Cell(71.234, 0.5, None, None, 3, 73.5, *published)
    assert table.cells["ours", "top-1"] == both
    assert table.cells["ours", "τ"] == Cell(-0.25, None, -0.5, 0.125, 1)
    assert table.cells["broken", "τ"] == Cell(seeds=2)
    assert table.cells["theirs", "top-1"].value is None
    assert table.cells["ours", "seconds"].note == "could not be sourced"


def test_markdown_shows_both_and_numbers_the_sources(folder: Path) -> None:
    lines = [" ".join(line.split()) for line in to_markdown(load_table(folder)).splitlines()]
    assert (
        "| ours | **71.23** ± 0.50; *73.50 ± 0.3 %* (1) | **−0.250** [−0.500, 0.125] | (2) |"
        in lines
    )
    assert "| theirs | *74.21 %* (1) | | |" in lines
    assert "| broken | | — | |" in lines
    assert "1. repo:file@abc. figure data" in lines
    assert "2. could not be sourced" in lines
    assert any(
        line.startswith("Scale: tiny. Measured 2024-01-03; 1 or 2 or 3 seeds a figure.")
        for line in lines
    )


@pytest.mark.parametrize(
    ("text", "shown"),
    [("17.76", "17.76"), ("0.40", "0.40"), ("216000", "216,000"), ("-1234.50", "−1,234.50")],
)
def test_published_figures_keep_their_digits(folder: Path, text: str, shown: str) -> None:
    write_csv(folder / "paper.csv", PAPER, ["ours", "top-1", text, "", "s", "x", ""])
    table = load_table(folder)
    assert table.cells["ours", "top-1"].paper_text == shown
    assert f"*{shown} s* (1)" in to_markdown(table)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"seeds": "many"}, "seeds is 'many', not a number"),
        *(({"value": text}, "not a number") for text in ("1_000", "1e999", "high")),
    ],
)
def test_impossible_results_are_refused(
    folder: Path, changes: dict[str, object], problem: str
) -> None:
    good = ["ours", "τ", -0.25, 0.1, -0.5, 0.125, 3, "tiny", "2024-01-03", 1]
    line = {**dict(zip(RESULTS.split(","), good, strict=True)), **changes}
    write_csv(folder / "results.csv", RESULTS, list(line.values()))
    with pytest.raises(UserError, match=rf"results\.csv, line 2.*{problem}"):
        load_table(folder)


def test_markdown_escapes_what_is_not_its_own() -> None:
    label = "a|b <script> `x`"
    cells = {(label, "c\nd"): Cell(1.0, seeds=1)}
    table = Table("n", "t", "p <b>", "s", "2024-01-01", (label,), ("c\nd",), cells)
    text = " ".join(to_markdown(table).split())
    assert "a\\|b \\<script> \\`x\\`" in text
    assert "| c d |" in text
    assert "p \\<b>" in text


def test_published_figures_alone_are_a_table(folder: Path) -> None:
    (folder / "results.csv").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(UserError, match=r"results\.csv cannot be read"):
        load_table(folder)
    write_csv(folder / "results.csv", "row,column,value")
    with pytest.raises(UserError, match="its columns must be row,column,value,std,low"):
        load_table(folder)
    (folder / "results.csv").unlink()
    table = load_table(folder)
    assert (table.date, table.scale) == ("", "tiny")
    assert "Nothing was measured here." in to_markdown(table)
    (folder / "paper.csv").unlink()
    with pytest.raises(UserError, match=r"neither figures in paper\.csv nor results"):
        load_table(folder)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (["a", "b", 1, "", "", "", ""], "has a value but no source"),
        (["a", "b", "1,5", "", "", "x", ""], "value is '1,5', not a number"),
        (["a", "b", "nan", "", "", "x", ""], "not a number"),
        (["a", "", 1, "", "", "x", ""], "need a label"),
        (["a", "b", 1, "", "", "x", "", "y"], "line 3, saw 8"),
        (["ours", "top-1", 1, "", "", "x", ""], "line 3: repeats row and column"),
    ],
)
def test_damaged_lines_are_refused(folder: Path, line: list[object], problem: str) -> None:
    write_csv(folder / "paper.csv", PAPER, ["ours", "top-1", 1, "", "", "x", ""], line)
    with pytest.raises(UserError, match=rf"paper\.csv.*{problem}"):
        load_table(folder)


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
    printed = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert printed.stdout.split() == ["False"]
