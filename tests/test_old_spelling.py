"""The old spelling of a protocol's settings."""

import pytest

from diswot._old_spelling import _KEYS, translated
from diswot.commands import compose

CHANGED = {
    "trainer=short": "protocol=short",
    "trainer=crd,imagenet": "protocol=crd,imagenet",
    "trainer.max_epochs=3": "protocol.max_epochs=3",
    "+trainer.optimizer.eps=1e-3": "+protocol.optimizer.eps=1e-3",
    "++trainer.ema=0.9": "++protocol.ema=0.9",
    "~trainer.optimizer.momentum": "~protocol.optimizer.momentum",
    "trainer.teacher_cache={views: 1, dir: x}": "protocol.teacher_cache={views: 1, dir: x}",
}
KEPT = [
    *("trainer=default", "trainer.devices=2", "+trainer.max_steps=5", "trainer.accumulate=2"),
    *("student=resnet20", "--help", "-m", "data.root=a/trainer=short", "trainer.emax=1"),
    *("trainer=short,mine", "hydra.run.dir=trainer.ema", "student.run=x/trainer.ema=1"),
]


@pytest.mark.parametrize("word", CHANGED)
def test_old_words_are_translated_and_named(word: str) -> None:
    words, notices = translated(["seed=1", word])
    assert words == ["seed=1", CHANGED[word]]
    assert notices == [
        f"{word} is now {CHANGED[word]}; the old spelling goes with the next release"
    ]


def test_other_words_stay() -> None:
    assert translated(KEPT) == (KEPT, [])


def test_the_keys_are_those_of_a_protocol() -> None:
    assert set(_KEYS) == set(compose("train", [], None)["protocol"])
