import torch
from diswot.data.batch import choose

from diswot.keys import generator


def test_chosen_images_are_distinct() -> None:
    labels = torch.arange(100) % 7
    for balanced in (False, True):
        chosen = choose(labels, 50, balanced=balanced, generator=generator("a"))
        assert len(chosen.unique()) == 50


def test_fewer_images_than_classes_have_distinct_classes() -> None:
    labels = torch.arange(1000) % 100
    chosen = choose(labels, 64, balanced=True, generator=generator("a"))
    assert len(labels[chosen].unique()) == 64


def test_class_without_images_left_is_passed_over() -> None:
    labels = torch.tensor([0] + [1] * 10 + [2] * 10)
    chosen = choose(labels, 9, balanced=True, generator=generator("a"))
    assert torch.bincount(labels[chosen]).tolist() == [1, 4, 4]


def test_balanced_differs_with_the_key() -> None:
    labels = torch.arange(100) % 10
    first, second = (
        choose(labels, 10, balanced=True, generator=generator(key)) for key in ("a", "b")
    )
    assert first.tolist() != second.tolist()


def test_choice_is_the_same_everywhere() -> None:
    chosen = choose(torch.arange(100) % 10, 5, balanced=True, generator=generator("a"))
    assert chosen.tolist() == [47, 91, 34, 6, 58]
