"""Ensembles: members as they score alone, combined within the candidates seen."""

from __future__ import annotations

from math import log
from typing import Any

import pytest
from proxy_helpers import setup_of
from scipy.stats import rankdata, zscore

from diswot.commands import compose
from diswot.errors import UserError

MEMBERS = ("diswot", "nwot", "snip", "params")


@pytest.mark.parametrize("how", ["rank_sum", "log_rank", "zscore"])
def test_members_score_as_they_do_alone(small_archs: Any, how: str) -> None:
    words = [f"proxy.ensemble.members=[{','.join(MEMBERS)}]", f"proxy.ensemble.combine={how}"]
    setup = setup_of("space=s0", f"proxy=[ensemble,{','.join(MEMBERS)}]", *words)
    measured = [setup.scorer.measure(arch) for arch in small_archs(setup.space, 5)]
    ensemble = setup.proxies["ensemble"]
    assert [each.failures for each in measured] == [{}] * 5
    expected = [0.0] * 5
    for name in MEMBERS:
        own = [each.parts[name] for each in measured]
        for each in measured:
            shown = {part: each.parts["ensemble"][f"{name}.{part}"] for part in each.parts[name]}
            assert shown == each.parts[name]
        scores = setup.proxies[name].fitness(own)
        terms = {
            "rank_sum": rankdata(scores),
            "log_rank": [log(rank / 5) for rank in rankdata(scores)],
            "zscore": zscore(scores),
        }[how]
        expected = [total + term for total, term in zip(expected, terms, strict=True)]
    fitness = ensemble.fitness([each.parts["ensemble"] for each in measured])
    assert fitness == pytest.approx(expected)
    assert ensemble.settings() == {"members": list(MEMBERS), "combine": how}


def test_it_needs_what_its_members_need() -> None:
    sizes = setup_of("proxy=ensemble", "proxy.ensemble.members=[params,flops]").proxies["ensemble"]
    assert not sizes.needs_network
    assert sizes.baseline
    more = setup_of("proxy=ensemble", "proxy.ensemble.members=[params,nst]").proxies["ensemble"]
    assert more.needs_teacher
    assert not more.needs_gradients
    assert not more.baseline


def test_a_member_that_fails_is_named() -> None:
    cell = "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"
    words = ["space=nasbench201", "proxy=ensemble", "proxy.ensemble.members=[params,nwot]"]
    setup = setup_of(*words)
    failures = setup.scorer.measure(setup.space.parse(cell)).failures
    assert failures["ensemble"].startswith("ValueError: nwot: ")


@pytest.mark.parametrize(
    ("members", "problem"),
    [
        ("[]", "none is given"),
        ("[params,nosuch]", "'nosuch' is unknown or named twice"),
        ("[params,nst,params]", "'params' is unknown or named twice"),
        ("[ensemble]", "'ensemble' is unknown or named twice"),
    ],
)
def test_wrong_members(members: str, problem: str) -> None:
    with pytest.raises(UserError, match=rf"proxy.ensemble.members=.*: {problem}; give .*nst"):
        compose("search", ["proxy=ensemble", f"proxy.ensemble.members={members}"], None)
