"""Latencies: how they are timed, what a table has to hold, when a budget asks for them."""

import gzip
import math
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from scoring_helpers import made, members, space_of
from torch import Tensor, nn

from diswot.errors import UserError
from diswot.runs import Journal, LatencyRecord
from diswot.scoring import latency as module
from diswot.scoring.budget import Budget, CostModel
from diswot.scoring.latency import Latencies, Latency, LatencyTable, MeasuredLatency

IMAGE = (3, 8, 8)
MEASURED = {
    **{"batch_size": 2, "threads": 1, "device": "cpu", "clock": "thread", "warmup": 3},
    **{"repeats": 4, "always": False},
}


class Probe(nn.Module):
    """Notes how it is called, and advances a clock by the next of some seconds."""

    def __init__(self, clock: list[float], seconds: list[float]) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 4, 3)
        self.clock, self.seconds = clock, seconds
        self.calls: list[tuple[Any, ...]] = []

    def forward(self, images: Tensor) -> Tensor:
        self.clock[0] += self.seconds[len(self.calls)]
        modes = (self.training, torch.is_inference_mode_enabled(), torch.get_num_threads())
        self.calls.append((tuple(images.shape), *modes))
        return self.layer(images)


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("name", ["thread", "wall"])
def test_the_median_of_passes_after_the_warm_up_counts(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    clock = [0.0]
    probe = Probe(clock, [9, 9, 9, 0.004, 0.001, 0.002, 0.1])
    monkeypatch.setitem(module._CLOCKS, name, (name, lambda: clock[0]))
    before = torch.get_rng_state()
    record = MeasuredLatency(**{**MEASURED, "clock": name}).of("x", lambda: probe, IMAGE)
    assert (record.arch, record.latency_ms) == ("x", 3.0)
    assert record.spread_ms == pytest.approx(28 - 1.75)  # of 1, 2, 4, 100: between the quarters
    assert record.device
    assert probe.calls == 7 * [((2, *IMAGE), False, True, 1)]
    assert torch.get_num_threads() == 2
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("member", members("latency"))
def test_members_are_latencies(member: str, tmp_path: Path) -> None:
    table = write(tmp_path, "arch,ms\na,1\n")
    words = [f"latency.path={table}", "latency.column=ms"] if member == "table" else []
    latency = made("latency", Latency, f"latency={member}", *words)
    assert latency.source
    assert latency.always == (member == "table")


@pytest.mark.parametrize(
    ("setting", "value", "allowed"),
    [
        *((name, 0, "at least 1") for name in ("batch_size", "threads", "repeats")),
        *(("warmup", -1, "at least 0"), ("device", "auto", "cpu, cuda")),
        ("clock", "sun", "thread, wall"),
        ("always", "yes", "true or false"),
    ],
)
def test_wrong_settings_are_refused(setting: str, value: Any, allowed: str) -> None:
    with pytest.raises(UserError, match=rf"latency\.{setting}={value}.*{allowed}"):
        MeasuredLatency(**{**MEASURED, setting: value})


def test_the_clock_of_a_thread_times_one() -> None:
    with pytest.raises(UserError, match=r"latency\.clock=thread .* threads=2 .*clock=wall"):
        MeasuredLatency(**{**MEASURED, "threads": 2})
    several = MeasuredLatency(**{**MEASURED, "threads": 2, "clock": "wall"})
    assert several.source == "batch 2, 2 threads, median wall time of 4 passes"
    assert MeasuredLatency(**MEASURED).source == "batch 2, 1 thread, median CPU time of 4 passes"


class Sleeping(nn.Module):
    """Takes none of the thread's time."""

    def forward(self, images: Tensor) -> Tensor:
        time.sleep(0.05)
        return images


def test_what_other_processes_take_does_not_count() -> None:
    clocks = ({**MEASURED, "clock": name, "repeats": 2} for name in ("thread", "wall"))
    own, wall = (MeasuredLatency(**each).of("x", Sleeping, IMAGE).latency_ms for each in clocks)
    assert own < 20
    assert wall >= 50


def write(folder: Path, text: str, name: str = "table.csv") -> Path:
    content = gzip.compress(text.encode()) if name.endswith(".gz") else text.encode()
    (folder / name).write_bytes(content)
    return folder / name


@pytest.mark.parametrize("name", ["table.csv", "table.csv.gz"])
@pytest.mark.parametrize("head", ["arch,ms", "index,cell,other_ms,ms"])
def test_a_table_is_read(tmp_path: Path, head: str, name: str) -> None:
    more = "7," if head.startswith("index") else ""
    other = "9.5," if "other" in head else ""
    file = write(
        tmp_path, f"{head}\n{more}|a~0|+|b,{other}1.25\n{more}b,{other}0\n{more}d,{other}-1\n", name
    )
    table = LatencyTable(path=file, column="ms", always=True)
    assert table.of("|a~0|+|b", nn.Identity, IMAGE) == LatencyRecord("|a~0|+|b", 1.25, None)
    assert table.of("teacher x", nn.Identity, IMAGE) is None
    assert table.of("d", nn.Identity, IMAGE) == LatencyRecord("d", math.inf, None)
    with pytest.raises(UserError, match=r"latency\.column=ms: b=0\.0 is not allowed; give a pos"):
        table.of("b", nn.Identity, IMAGE)
    with pytest.raises(UserError, match=r"table\.csv.* has no latency of c; .*latency=measured"):
        table.of("c", nn.Identity, IMAGE)


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        (None, "ms", r"latency\.path: not given; give a CSV file"),
        ("", "ms", r"latency\.path: .*table\.csv cannot be read"),
        ("arch,ms\na,1\n", "s", r"latency\.column=s: .* has no such column .*; it has ms"),
        ("arch,ms\na,1\n", None, r"latency\.column=None: .*; it has ms"),
        ("arch,ms\na,1\n", "arch", r"latency\.column=arch: .*; it has ms"),
        ("network,ms\na,1\n", "ms", r"latency\.path: .* has no column arch"),
        ("arch,ms\na,1\na,2\n", "ms", r"latency\.path: .* has a twice"),
        ("arch,ms\na,1,2\n", "ms", r"latency\.path: .* a line has more cells than line 1"),
    ],
)
def test_tables_that_cannot_be_used(
    tmp_path: Path, text: str | None, column: str | None, message: str
) -> None:
    path = None if text is None else write(tmp_path, text)
    with pytest.raises(UserError, match=message):
        LatencyTable(path=path, column=column, always=True)
    with pytest.raises(UserError, match=r"latency\.path: .*nowhere is no file"):
        LatencyTable(path=tmp_path / "nowhere", column=column, always=True)


@pytest.mark.data
def test_published_latencies_are_of_all_cells(data_root: Path) -> None:
    file = data_root / "benchmarks" / "nasbench201_latency.csv.gz"
    archs = list(map(str, space_of("nasbench201").enumerate()))
    for column, not_run in (("edgegpu_ms", 0), ("edgetpu_ms", 4699)):
        table = LatencyTable(path=file, column=column, always=True)
        records = [table.of(arch, nn.Identity, IMAGE) for arch in archs]
        assert sum(each is not None and each.latency_ms == math.inf for each in records) == not_run


class Counting(Latency):
    """A latency that is another every time it is measured."""

    source = "a clock"

    def __init__(self, device: str | None = "a processor") -> None:
        super().__init__(always=True)
        self.device, self.numbers = device, count(1)

    def of(
        self, name: str, build: Callable[[], nn.Module], image: tuple[int, int, int]
    ) -> LatencyRecord:
        value = float(next(self.numbers))
        return LatencyRecord(name, value, value / 10, self.device)


def journal(folder: Path) -> Journal[LatencyRecord]:
    return Journal(folder / LatencyRecord.file, LatencyRecord)


def test_the_first_number_counts_also_after_a_stop(tmp_path: Path) -> None:
    first, second, third = list(space_of("s0").enumerate())[:3]

    def begun(latency: Latency) -> Latencies:
        return Latencies(latency, lambda _: nn.Identity(), IMAGE, journal(tmp_path))

    own = begun(Counting())
    assert [own.of(arch).latency_ms for arch in (first, second, first)] == [1, 2, 1]
    own.look_at_teacher("x", nn.Identity)
    assert not (tmp_path / LatencyRecord.file).exists()  # nothing has begun yet
    own.keep()
    own.of(third)  # a kill before the next `keep`
    again = begun(Counting("another"))
    again.look_at_teacher("x", nn.Identity)
    assert (again.of(second).latency_ms, again.teacher_ms, again.of(third).latency_ms) == (2, 3, 1)
    again.keep()
    lines = [record.arch for record, _ in journal(tmp_path).read()]
    assert lines == [str(first), str(second), "teacher x", str(third)]
    assert again.source() == "measured on a processor and another, a clock"
    assert again.summary().spread == pytest.approx(0.1)


def test_a_table_leaves_no_journal(tmp_path: Path) -> None:
    latencies = Latencies(Counting(None), lambda _: nn.Identity(), IMAGE, journal(tmp_path))
    latencies.of(next(space_of("s0").enumerate()))
    latencies.keep()
    assert list(tmp_path.iterdir()) == []
    assert latencies.source() == "a clock"


def test_a_network_that_cannot_run_has_no_latency_and_a_teacher_has_to(tmp_path: Path) -> None:
    measured = MeasuredLatency(**MEASURED)
    latencies = Latencies(measured, lambda _: nn.Conv2d(5, 2, 3), IMAGE, journal(tmp_path))
    assert latencies.of(next(space_of("s0").enumerate())).latency_ms == math.inf
    with pytest.raises(UserError, match=r"latency: teacher odd cannot be run: .*5"):
        latencies.look_at_teacher("odd", lambda: nn.Conv2d(5, 2, 3))


class Asked:
    """Latencies that note of what they are asked: as many milliseconds as layers."""

    def __init__(self) -> None:
        self.archs: list[str] = []

    def of(self, arch: Any) -> LatencyRecord:
        self.archs.append(str(arch))
        return LatencyRecord(str(arch), 2.0 * sum(arch.depths) + 2, None)


def test_a_budget_asks_where_all_other_limits_are_kept() -> None:
    space, asked = space_of("s0"), Asked()
    costs = CostModel(space, num_classes=10, image=(3, 16, 16), latencies=asked)  # type: ignore[arg-type]
    budget = Budget(params=1e5, latency_ms=10)
    inside, slow, large = map(space.parse, ("s0:1-1-1", "s0:3-1-1", "s0:7-7-7"))
    assert budget.excess(inside, costs) == 0
    assert asked.archs == ["s0:1-1-1"]
    assert budget.excess(slow, costs) == pytest.approx(0.2)
    asked.archs.clear()
    assert budget.excess(large, costs) > 1000 > budget.excess(slow, costs)
    assert asked.archs == ["s0:3-1-1"]
    assert costs.count("latency_ms", slow) == 12
    assert str(budget) == "params ≤ 100,000, latency_ms ≤ 10"
    assert str(Budget(latency_ms=0.25)) == "latency_ms ≤ 0.25"


def test_shares_of_a_teachers_latency() -> None:
    teacher = {"params": 1000, "latency_ms": 5.0}
    budget = Budget(latency_ms="0.5x", teacher=teacher)
    assert str(budget) == "latency_ms ≤ 2.5 (0.5x of the teacher)"
    with pytest.raises(UserError, match=r"budget.latency_ms=0.5x: a table knows no teacher's"):
        Budget(latency_ms="0.5x", teacher={"params": 1000})
    with pytest.raises(UserError, match=r"budget.latency_ms=0 is not allowed; give a positive"):
        Budget(latency_ms=0)
