"""What is known of latencies in a search; see `diswot.runs.records`."""

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class LatencyRecord:
    """Milliseconds of a forward pass of an architecture in a search, or of ``teacher NAME``.

    Of a measured one the median, ``spread_ms`` is the interquartile range of the passes and
    ``device`` the processor's name; both are None of a table. Infinite where a table says that its
    device does not run the architecture.
    """

    file: ClassVar[str] = "latencies.jsonl"

    arch: str
    latency_ms: float
    spread_ms: float | None
    device: str | None = None


@dataclass(frozen=True)
class LatencySummary:
    """Where a search's latencies are from: of what, and how measured, or which table.

    ``spread`` is the interquartile range of the passes as a share of their median, the median
    over the networks; ``teacher_ms`` is the teacher's. Both None where they are not known.
    """

    source: str
    spread: float | None = None
    teacher_ms: float | None = None
