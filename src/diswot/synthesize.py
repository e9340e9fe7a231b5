"""Make images of a teacher alone: ``python -m diswot.synthesize``."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from io import BytesIO
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from diswot.commands import Command, Launch, Session, quote, run_app, settled
from diswot.errors import UserError
from diswot.runs import SynthesisRecord, SynthesisSummary, write_atomic

if TYPE_CHECKING:
    from torch import Tensor

    from diswot.data.base import ImageData
    from diswot.synthesizing import Inversion, Inverted

_COMMAND = Command(
    "synthesize",
    "synthesis",
    SynthesisRecord,
    SynthesisSummary,
    axis="batch",
    kept="the batches of images that were made are kept",
    nothing="nothing is kept yet",
)
_LOGGED = ("cross_entropy", "statistics", "agreement")
_EVERY = 10.0  # seconds between two lines on progress within a batch


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command on ``argv``, else on the command line's words; gives its exit code."""
    return run_app("synthesize", job, argv)


def job(launch: Launch) -> float:
    """One synthesis; gives the agreement of its images, for Hydra's optimising sweepers."""
    from diswot.console import print_lines

    summary = run_synthesize(launch.config, launch.path, group=launch.sweep)
    if launch.sweep is None:
        print_lines([f"Next: {_next_command(launch)}"])
    return summary.agreement


def run_synthesize(
    config: dict[str, Any], path: Path, *, quiet: bool = False, group: str | None = None
) -> SynthesisSummary:
    """Make images, in a run directory; gives its ``result.json``.

    The config is that of ``conf/synthesize.yaml``, resolved; ``group`` is of runs that belong
    together, for loggers. Errors are those of `diswot.commands.Session.result`.
    """
    from diswot.checks import whole
    from diswot.fingerprints import identified

    config = settled(config, "teacher", "data")
    config["data"] = _absolute(config["data"])
    whole("seed", config["seed"], 0)
    _inversion(config)
    if whole("batch", config["batch"], 2) > whole("images", config["images"], 2):
        raise UserError(
            f"batch={config['batch']} is more than images={config['images']}; give at most as many"
        )
    spec = config["teacher"]
    if "none" in (spec["name"], str(spec["weights"])):
        raise UserError(
            f"teacher={spec['name']} teacher.weights={spec['weights']}: an untrained teacher has "
            "seen no images; give embedded, a file, a run directory or a tag of its weights"
        )
    session = Session(_COMMAND, identified(config), path, quiet=quiet, group=group)
    file = path / SynthesisSummary.file
    return session.result(_synthesize, _show_result, finished=lambda _: file.exists())


def _absolute(node: dict[str, Any]) -> dict[str, Any]:
    """A node of images whose paths hold in any folder, since trainings read it."""
    paths = {key: node[key] for key in ("root", "path", "test_path") if node.get(key)}
    absolute = {key: str(Path(path).expanduser().absolute()) for key, path in paths.items()}
    return {**node, **absolute}


def _inversion(config: dict[str, Any]) -> Inversion:
    from diswot.checks import flag, number, positive, whole
    from diswot.synthesizing import Inversion

    return Inversion(
        steps=whole("steps", config["steps"], 0),
        lr=positive("lr", config["lr"]),
        statistics=number("statistics", config["statistics"], low=0),
        variation=number("variation", config["variation"], low=0),
        shift=whole("shift", config["shift"], 0),
        grey=flag("grey", config["grey"]),
    )


def _synthesize(session: Session[SynthesisRecord, SynthesisSummary]) -> SynthesisSummary:
    import torch

    from diswot.config import make
    from diswot.data.base import ImageData
    from diswot.models.weights import untrained_classifier
    from diswot.synthesizing import Inverted
    from diswot.teaching import build_teacher
    from diswot.versions import versions

    config, run_dir = session.config, session.run_dir
    spec, data = config["teacher"], make(config["data"], "data", ImageData)
    teacher = build_teacher(spec, data)
    if problem := untrained_classifier(teacher):
        raise UserError(
            f"teacher.weights: {spec['weights']} {problem}, so it has no images of these classes; "
            "take a teacher of them"
        )
    network, file = Inverted(teacher, config["device"]), session.path / SynthesisSummary.file
    labels = torch.split(torch.arange(config["images"]) % data.num_classes, config["batch"])
    session.show(_show_plan, config, data, session.path)
    run_dir.begin()
    done = _finished_batches(session)
    session.loggers.start()
    for number in range(len(done), len(labels)):
        record = _made(session, network, data, labels[number], number)
        run_dir.journal.append(record)
        done.append(record)
        values = {key: value for key, value in asdict(record).items() if key in _LOGGED}
        session.loggers.log(values, number)
        session.show(_show_batch, record, len(labels))
    parts = [_part(session.path, number) for number in range(len(labels))]
    if not file.exists():
        _write(file, torch.cat([_read(part) for part in parts]), torch.cat(labels))
    for part in parts:
        part.unlink(missing_ok=True)
    summary = SynthesisSummary(
        teacher=spec["name"],
        teacher_weights=str(spec["weights"]),
        teacher_sha256=spec.get("sha256"),
        data=data.name,
        num_classes=data.num_classes,
        images=config["images"],
        steps=config["steps"],
        cross_entropy=round(fmean(each.cross_entropy for each in done), 5),
        statistics=round(fmean(each.statistics for each in done), 5),
        agreement=round(fmean(each.agreement for each in done), 4),
        seconds=round(sum(each.seconds for each in done), 1),
        seed=config["seed"],
        device=config["device"],
        versions=versions(),
    )
    run_dir.save_result(summary)
    session.loggers.finished(asdict(summary), [])
    return summary


def _made(
    session: Session[SynthesisRecord, SynthesisSummary],
    network: Inverted,
    data: ImageData,
    labels: Tensor,
    number: int,
) -> SynthesisRecord:
    """Make one batch, write its file, and measure it as it was written."""
    import torch

    from diswot.keys import generator
    from diswot.synthesizing import synthesized

    config, started = session.config, time.monotonic()
    name = f"batch {number + 1}/{-(-config['images'] // config['batch'])}"
    draws = generator("synthesis", config["seed"], number)
    shown = _progress(session, name, config["steps"])
    images = synthesized(network, labels, data, _inversion(config), draws, on_step=shown)
    with torch.no_grad():
        losses = network.losses(data.transform.normalize(images), labels)
    _write(_part(session.path, number), images, labels)
    return SynthesisRecord(
        number,
        cross_entropy=round(float(losses.cross_entropy), 5),
        statistics=round(float(losses.statistics), 5),
        agreement=round(losses.agreement, 4),
        seconds=round(time.monotonic() - started, 2),
    )


def _part(path: Path, number: int) -> Path:
    """The file of a batch while others are still to come."""
    return path / f"batch-{number}.npz"


def _finished_batches(session: Session[SynthesisRecord, SynthesisSummary]) -> list[SynthesisRecord]:
    """What the journal says of batches whose file is there; it drops all beyond them.

    Where the file of all images is there, batches have none any more.
    """
    lines = session.run_dir.journal.read()
    if (session.path / SynthesisSummary.file).exists():
        return [record for record, _ in lines]
    count = next((n for n in range(len(lines)) if not _part(session.path, n).exists()), len(lines))
    session.run_dir.journal.cut(lines[count - 1][1] if count else 0)
    return [record for record, _ in lines[:count]]


def _write(file: Path, images: Tensor, labels: Tensor) -> None:
    import numpy as np

    content = BytesIO()
    np.savez_compressed(content, x_train=images.numpy(), y_train=labels.numpy())
    write_atomic(file, content.getvalue())


def _read(file: Path) -> Tensor:
    import torch

    from diswot.data.npz import read_train

    return torch.from_numpy(read_train(file, "hydra.run.dir")[0])


def _progress(session: Session[Any, Any], name: str, steps: int) -> Callable[[int], None]:
    """Shows, now and then, how many steps of a batch are done, and how long it will still take."""
    from diswot.console import print_lines

    started = last = time.monotonic()

    def on_step(step: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _EVERY and step + 1 < steps:
            last, left = now, (now - started) / (step + 1) * (steps - step - 1)
            session.show(print_lines, [f"{name}: {step + 1} of {steps} steps, {left:.0f} s left"])

    return on_step


def _show_plan(config: dict[str, Any], data: ImageData, path: Path) -> None:
    """What is about to happen, one line an item."""
    from diswot.console import print_pairs, shown
    from diswot.teaching import teacher_cost

    spec = config["teacher"]
    cost = teacher_cost(spec, data.num_classes, data.image_shape)
    print_pairs(
        {
            "teacher": f"{spec['name']} (weights: {spec['weights']}), {cost}",
            "data": f"{data.name}, of which no image is read: {data.num_classes} classes, "
            f"{data.image_size}×{data.image_size}, mean and deviation",
            "images": f"{config['images']:,}, {config['batch']} at a time, by {config['steps']} "
            f"steps each, seed {config['seed']}",
            "device": config["device"],
            "run dir": shown(path),
        }
    )


def _show_batch(record: SynthesisRecord, batches: int) -> None:
    from diswot.console import print_lines

    print_lines(
        [
            f"batch {record.batch + 1}/{batches}  cross-entropy {record.cross_entropy:.4g}  "
            f"statistics {record.statistics:.4g}  agreement {record.agreement:.1f} %  "
            f"{record.seconds:.0f} s"
        ]
    )


def _show_result(summary: SynthesisSummary, path: Path) -> None:
    """What was made, and the paths of the files."""
    from diswot.console import print_lines, shown

    print_lines(
        [
            f"{summary.images:,} images of {summary.num_classes} classes, of {summary.teacher} "
            f"alone; it puts {summary.agreement:.1f} % of them into the class they were made for",
            f"{summary.seconds:.1f} s",
            *(f"  {shown(path / name)}" for name in (summary.file, "result.json")),
        ]
    )


def _next_command(launch: Launch) -> str:
    """A training on these images by the same teacher, with the settings that were given here."""
    from diswot.console import shown

    words = [f"teacher={launch.choices['teacher']}", "data=synthesized"]
    words += [f"data.run={quote(shown(launch.path))}"]
    images, batch = launch.config["images"], launch.config["data"]["batch_size"]
    words += [f"data.batch_size={images}"] * (images < batch)
    return launch.next_command("train", [*words, *launch.given("teacher.")])


if __name__ == "__main__":
    sys.exit(main())
