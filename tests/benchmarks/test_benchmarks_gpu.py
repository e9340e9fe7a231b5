"""The script for a GPU runs as a whole, on a CPU and as short as can be."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "gpu.py"
STEPS = ["machine", "s1", "s0", "train"]  # of the others two are searches too, one compiles


def run(out: Path, *steps: str) -> tuple[int, str]:
    words = ["--device", "cpu", "--tiny", "--out", str(out), "--steps", *steps]
    done = subprocess.run(
        [sys.executable, SCRIPT, *words], capture_output=True, text=True, check=False, timeout=300
    )
    return done.returncode, done.stdout


@pytest.mark.slow
def test_every_step_measures(tmp_path: Path) -> None:
    status, printed = run(tmp_path / "gpu.jsonl", *STEPS)
    assert status == 0, printed
    assert (tmp_path / "gpu.jsonl").read_text() == printed
    records = [json.loads(line) for line in printed.splitlines()]
    assert list(dict.fromkeys(record["step"] for record in records)) == STEPS
    by_step = {step: [r for r in records if r["step"] == step] for step in STEPS}
    assert all(r["bits_of_one_process"] and not r["failed"] for r in by_step["s1"])
    assert [r["workers"] for r in by_step["s1"]] == [1, 2]
    assert all(r["spearman"] == pytest.approx(1) for r in by_step["s0"])
    assert [r["data.resident"] for r in by_step["train"]] == ["false", "true"]


def test_a_step_that_takes_too_long_or_fails_keeps_what_it_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(SCRIPT.parent)
    import gpu

    def endless(options: gpu.Options):
        yield {"one": 1}
        if options.tiny:
            raise ValueError("no")
        gpu.time.sleep(60)

    for tiny, end in {False: {"stopped": "after 0.5 s"}, True: {"error": "ValueError: no"}}.items():
        assert list(gpu.limited(endless, gpu.Options("cpu", tiny), 0.5)) == [{"one": 1}, end]
