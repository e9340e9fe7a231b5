"""Of each generation the best by a cheap score are scored in full; the others are recorded."""

import math
from itertools import groupby
from pathlib import Path

import pytest
from searching_helpers import CHEAP, configured, searched

from diswot.config import identity
from diswot.errors import UserError
from diswot.search import run_search

SCREENED = [*CHEAP, "screen.proxy=random", "screen.keep=0.5"]


def test_the_best_of_each_generation_by_the_cheap_score_are_scored(tmp_path: Path) -> None:
    config = configured(SCREENED, "strategy.evaluations=15")
    records, result = searched(tmp_path, config)
    assert len(records) == result["evaluated"] == 15
    kinds, seen = [record["status"] for record in records], dict[str, str]()
    for _, generation in groupby(records, lambda record: record["generation"]):
        mine = list(generation)
        new = {each["arch"]: each for each in mine if each["arch"] not in seen}
        cheap = {arch: each["others"]["random"]["random"] for arch, each in new.items()}
        kept = sorted(cheap, key=lambda arch: -cheap[arch])[: math.ceil(len(cheap) / 2)]
        seen |= {arch: "ok" if arch in kept else "screened" for arch in new}
        assert [each["status"] for each in mine] == [seen[each["arch"]] for each in mine]
    assert {"ok", "screened"} == {*kinds}
    out = [record for record in records if record["status"] == "screened"]
    assert all(each["score"] is None and each["parts"] == {} and each["params"] for each in out)
    assert all(each["reason"] is None for each in out)
    assert result["screened"] == sum(not record["cached"] for record in out)
    assert result["failed"] == 0
    scored = [record for record in records if record["status"] == "ok"]
    assert result["score"] == max(record["score"] for record in scored)


def test_all_that_are_kept_change_nothing(tmp_path: Path) -> None:
    plain = searched(tmp_path / "plain", configured(CHEAP))
    assert searched(tmp_path / "all", configured(SCREENED, "screen.keep=1")) == plain


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("screen.proxy=params", r"screen\.proxy=params is not allowed; .*the fitness \(random\)"),
        ("screen.proxy=nwot", r"screen\.proxy=nwot is not allowed; .* \(random\), or null"),
        ("screen.proxy=[random]", r"screen\.proxy=\['random'\] is not allowed"),
        ("screen.keep=0", r"screen\.keep=0 is not allowed; give a number from 0\.01 to 1"),
    ],
)
def test_bad_screens_are_refused(tmp_path: Path, word: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        run_search(configured(SCREENED, word), tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


def test_a_search_without_a_screen_is_that_of_older_versions() -> None:
    config = configured(CHEAP)
    older = {key: value for key, value in config.items() if key != "screen"}
    assert identity(config) == identity(older)
    assert identity(configured(SCREENED)) != identity(configured(SCREENED, "screen.keep=0.3"))
