"""Distils small networks of S1 on the embedded images: the accuracies of ``benchmark=s1_small``.

``python tools/measure_s1.py WORK`` trains in WORK, one after another on one thread, 60 networks for
3 epochs with the embedded ResNet-56 as teacher, and ten of them with two further seeds (three
hours; a second start goes on where the first one ended). What the package's table holds is not
trained again. Finished ones are stored there: accuracy with seed 0, and with the others where there
are any; ``held_out`` says that they were trained after the recommended score had been chosen.
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
import random
import sys
from pathlib import Path

from diswot.commands import compose
from diswot.config import make
from diswot.scoring.budget import CostModel
from diswot.spaces import Space
from diswot.train import main as train

ASSETS = Path(__file__).parents[1] / "src" / "diswot" / "assets"
SPACE = ["space=s1", "space.max_depth=4", "space.max_stem=32", "space.max_widths=[32,64,128]"]
"""The narrow end of S1, where networks of less than 25 M multiply-accumulates are frequent."""
EPOCHS, BEFORE = 3, 40
"""Length of a training, and how many networks the recommended score was chosen with."""

COLUMNS = ("kd_top1", "kd_top1_seed1", "kd_top1_seed2")


def networks() -> list[tuple[str, int, int]]:
    """60 networks with parameters and MACs, spread evenly over the logarithm of the parameters."""
    space = make(compose("search", SPACE, None)["space"], "space", Space)
    costs = CostModel(space, num_classes=10, image=(3, 32, 32))
    rng, pool = random.Random(20261128), dict[str, tuple[int, int]]()
    while len(pool) < 1200:
        arch = space.sample(rng)
        if costs.params(arch) <= 1e6 and (flops := costs.flops(arch)) < 25e6:
            pool[str(arch)] = (costs.params(arch), flops)
    sizes = [params for params, _ in pool.values()]
    low, high = math.log(max(min(sizes), 8000)), math.log(max(sizes))
    chosen = []
    for place in range(60):
        goal = low + (high - low) * place / 59
        arch = min(pool, key=lambda each: abs(math.log(pool[each][0]) - goal))
        chosen.append((arch, *pool.pop(arch)))
    return chosen


def main() -> None:
    """Train what is left, then store."""
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    work, known = Path(sys.argv[1]).resolve(), networks()
    order = random.Random(1).sample(range(60), 60)
    ten = [*order[::7], order[-1]]
    jobs = [(index, 0) for index in order] + [(index, seed) for seed in (1, 2) for index in ten]
    file = ASSETS / "s1_fashion_kd.csv"
    with file.open(newline="", encoding="utf-8") as stream:
        stored = {row["arch"]: row for row in csv.DictReader(stream)}
    accuracy: dict[int, dict[int, str]] = {}
    for index, seed in jobs:
        arch = known[index][0]
        if before := stored.get(arch, {}).get(COLUMNS[seed]):
            accuracy.setdefault(index, {})[seed] = before
            continue
        path = work / "runs" / str(seed) / arch.replace("/", "_").replace(":", "-")
        if not (path / "result.json").exists():
            words = [
                *("student=arch", f"student.arch={arch}", "space=s1", "teacher=resnet56"),
                *("teacher.weights=embedded", "distiller=kd", f"protocol.max_epochs={EPOCHS}"),
                f"protocol.teacher_cache.views={EPOCHS}",
                *(f"protocol.teacher_cache.dir={work / 'cache'}", f"seed={seed}"),
                f"hydra.run.dir={path}",
            ]
            if train(words) != 0:
                sys.exit(1)
        result = json.loads((path / "result.json").read_text(encoding="utf-8"))
        accuracy.setdefault(index, {})[seed] = str(round(result["test_top1"], 2))
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["arch", "params", "macs", *COLUMNS, "held_out"])
        for index in sorted(accuracy):
            own = (accuracy[index].get(seed) for seed in range(len(COLUMNS)))
            writer.writerow([*known[index], *own, int(index not in order[:BEFORE])])
    sums = {line.split()[1]: line for line in (ASSETS / "SHA256SUMS").read_text().splitlines()}
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    sums[file.name] = f"{digest}  {file.name}"
    (ASSETS / "SHA256SUMS").write_text("\n".join(sums.values()) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
