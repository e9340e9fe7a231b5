"""Weights and temperatures that change with the epoch."""

import pytest
from distiller_helpers import pair

from diswot.commands import compose
from diswot.distillers import functional
from diswot.distillers.schedules import Schedule, at_epoch
from diswot.errors import UserError

RISING = {"from": 1, "to": 5, "shape": "linear", "epochs": 4}


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ("linear", [1, 2, 3, 4, 5, 5, 5, 5, 5]),
        ("cosine", [1, 1.5857864, 3, 4.4142136, 5, 5, 5, 5, 5]),
        ("cyclical", [1, 3, 5, 3, 1, 3, 5, 3, 1]),
    ],
)
def test_shapes(shape: str, expected: list[float]) -> None:
    schedule = Schedule(1, 5, shape, 4)
    assert [schedule(epoch) for epoch in range(9)] == pytest.approx(expected)
    assert Schedule(5, 1, shape, 4)(1) == pytest.approx(6 - expected[1])
    assert f"{schedule:g}" == f"1→5 ({shape}, 4 epochs)"
    assert at_epoch(0.5, 7) == 0.5


@pytest.mark.parametrize("name", ["kd", "dkd", "dist", "wsld"])
def test_any_distiller_takes_them(name: str) -> None:
    networks = pair("depth")
    changing = networks.connected(name, weight=RISING, temperature=RISING)
    for epoch in (0, 2, 40):
        now = float(at_epoch(changing.temperature, epoch))
        constant = networks.connected(name, temperature=now)
        expected = networks.loss(constant, epoch).item()
        assert networks.loss(changing, epoch).item() == pytest.approx(expected, rel=1e-6)
    assert [changing.weight_in(epoch) for epoch in (0, 1, 9)] == [1, 2, 5]
    assert networks.connected(name).weight_in(9) == networks.connected(name).weight


def test_they_are_given_as_settings() -> None:
    words = "distiller.kd.weight={from: 0, to: 1, shape: cosine, epochs: ${protocol.max_epochs}}"
    node = compose("train", ["distiller=kd", words, "protocol.max_epochs=7"], None)["distiller"]
    assert node["kd"]["weight"] == {"from": 0, "to": 1, "shape": "cosine", "epochs": 7}


def test_kd_at_the_temperature_of_its_epoch() -> None:
    networks = pair("depth")
    teacher, student = networks.outputs()
    loss = networks.connected("kd", temperature=RISING)(teacher, student, networks.step(3))
    expected = functional.kd(teacher.logits, student.logits, temperature=4)
    assert loss.item() == pytest.approx(expected.item())


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ({"from": -1}, r"\.from=-1 .*a positive number"),
        ({"to": "high"}, r"\.to=high .*a positive number"),
        ({"shape": "square"}, r"\.shape=square: allowed are linear, cosine, cyclical"),
        ({"epochs": 0}, r"\.epochs=0 .*at least 1"),
        ({"start": 1}, r"=\{.*\}: give a number, or from, to, shape, epochs"),
    ],
)
def test_wrong_schedules_are_named(wrong: dict[str, object], problem: str) -> None:
    with pytest.raises(UserError, match=rf"^distiller\.kd\.temperature{problem}"):
        pair("depth").connected("kd", temperature={**RISING, **wrong})
