"""How the report copes with a sweep of many runs.

Usage: python benchmarks/many_runs.py WORK [--runs N] [--real N]

A sweep of ``--real`` short searches by the real command in WORK, which must be new. The rest of
``--runs`` are copies of them with seeds and scores of their own, since a search takes a second or
more however short it is. Then `diswot report` makes the page, and Chromium opens it where it and
playwright are there. Printed are seconds by the clock and of the CPU, the largest resident memory
of a process, and sizes.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage

SEARCH = ["space=s0", "teacher=none", "proxy=[params]", "strategy=random", "budget=none"]
SEARCH += ["strategy.evaluations=10", "workers=1"]


def timed(*words: str) -> str:
    """Run a command of the package; its times and memory, the largest of all so far."""
    before, started = getrusage(RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, "-m", *words], stdout=subprocess.DEVNULL, check=True)
    wall, after = time.perf_counter() - started, getrusage(RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return f"{wall:.1f} s, {cpu:.1f} s of CPU, {after.ru_maxrss / 1024:.0f} MiB"


def copied(run: Path, seed: int) -> None:
    """The same search under another seed, with other scores."""
    made = run.with_name(f"copy-{seed:04}")
    shutil.copytree(run, made)
    for name in ("config.json", "result.json"):
        content = json.loads((made / name).read_text(encoding="utf-8"))
        content["seed"] = seed
        if "score" in content:
            content["score"] *= 1 + seed / 1e4
        (made / name).write_text(json.dumps(content), encoding="utf-8")


def opened(page: Path) -> str:
    """Milliseconds until Chromium has loaded a page, its rows, and what the page complained of."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        tab, complaints = browser.new_page(), list[str]()
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        started = time.perf_counter()
        tab.goto(page.as_uri(), wait_until="load", timeout=120_000)
        seconds = time.perf_counter() - started
        rows = tab.locator("#table-of-runs tbody tr").count()
        browser.close()
    return f"{seconds:.1f} s, {rows:,} rows, {len(complaints)} errors"


def main() -> None:
    """Search, copy, report, open."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("--runs", type=int, default=1_000)
    parser.add_argument("--real", type=int, default=10)
    given = parser.parse_args()
    sweep = given.work.resolve() / "sweep"
    assert not sweep.exists(), f"{sweep} is there already"
    seeds = ",".join(map(str, range(given.real)))
    words = ["-m", *SEARCH, f"seed={seeds}", f"hydra.sweep.dir={sweep}"]
    print(f"{given.real} searches: {timed('diswot.search', *words)}", flush=True)
    runs = sorted(file.parent for file in sweep.rglob("result.json"))
    for seed in range(given.real, given.runs):
        copied(runs[seed % len(runs)], seed)
    page = given.work.resolve() / "report.html"
    made = timed("diswot.report", str(sweep), "--output", str(page))
    print(f"page of {given.runs:,} runs: {made}")
    print(f"  {page.stat().st_size / 2**20:.2f} MiB, Chromium: {opened(page)}")


if __name__ == "__main__":
    main()
