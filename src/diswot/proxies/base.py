"""What a proxy is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

    from diswot.data.batch import MiniBatch
    from diswot.networks.outputs import NetworkOutputs
    from diswot.scoring.cost import Cost

__all__ = ["Parts", "Proxy", "ProxyContext", "Subject", "Summary"]

Parts = dict[str, float]
Summary = Mapping[str, "Tensor"]


@dataclass(frozen=True)
class ProxyContext:
    """What is known of a run before the first candidate is scored.

    Attributes:
        space: Name of the space.
        student_width: Channels of the candidates' embedding where all share one, else None.
        teacher: Name of the teacher, None without one.
        teacher_width: Channels of the teacher's embedding, None without a teacher.
        num_classes: Classes of teacher and students.
    """

    space: str
    student_width: int | None
    teacher: str | None
    teacher_width: int | None
    num_classes: int


@dataclass(frozen=True)
class Subject:
    """One network under the eyes of the proxies, after its one forward pass.

    Attributes:
        arch: Text form of the architecture.
        seed: Seed of the run.
        cost: Parameters, MACs and layers.
        batch: The mini-batch.
        network: The network; None where no proxy needs a forward pass.
        outputs: What the forward pass gave; None likewise.
        observed: What each proxy's `Proxy.observe` gave, by name.
        teacher: Each proxy's summary of the teacher, by name.
    """

    arch: str
    seed: int
    cost: Cost
    batch: MiniBatch
    network: nn.Module | None = None
    outputs: NetworkOutputs | None = None
    observed: Mapping[str, Any] = field(default_factory=dict)
    teacher: Mapping[str, Summary] = field(default_factory=dict)


class Proxy(ABC):
    """Scores an untrained network; pure, and higher is better.

    Attributes declare what a proxy needs, so that what nobody needs is not computed; `bind` may
    change them.

    Attributes:
        needs_teacher: Compares with a teacher; then it defines `summarize`.
        needs_labels: Reads the mini-batch's labels.
        needs_gradients: Runs a backward pass.
        needs_forward: Reads what the forward pass gives.
        outputs_only: Reads the outputs and parameters of the network, but neither watches its
            modules nor reads their running statistics; then first stages that candidates have
            in common need not run again.
    """

    needs_teacher: bool = False
    needs_labels: bool = False
    needs_gradients: bool = False
    needs_forward: bool = True
    outputs_only: bool = False

    def __init__(self, *, name: str) -> None:
        self.name = name

    def bind(self, context: ProxyContext) -> Proxy:
        """The proxy with every choice that depends on the run made.

        Raises:
            UserError: The settings cannot work in this run.
        """
        return self

    def observe(self, network: nn.Module) -> AbstractContextManager[Any]:
        """Watch ``network`` during its forward pass; what is entered goes to `measure`."""
        return nullcontext()

    def summarize(self, outputs: NetworkOutputs, batch: MiniBatch, network: nn.Module) -> Summary:
        """The tensors a comparison needs of the teacher; computed once a run."""
        return {}

    @abstractmethod
    def measure(self, subject: Subject) -> Parts:
        """The parts of the score, by name; each a pure function of the candidate."""

    def fitness(self, parts: Sequence[Parts]) -> list[float]:
        """Scores from the parts of all candidates seen so far, in ask order.

        A proxy whose scores are relative to other candidates overrides this and sets
        `relative`; all others add up each candidate's parts.
        """
        return [sum(part.values()) for part in parts]

    @property
    def relative(self) -> bool:
        """Whether a candidate's score depends on the other candidates."""
        return False

    def settings(self) -> dict[str, Any]:
        """Settings as used, for reports."""
        return {}
