"""Fit a classifier on a teacher without one: ``python -m diswot.probe``."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diswot.commands import Command, Launch, Session, quote, run_app, settled
from diswot.errors import UserError
from diswot.runs import ProbeRecord, ProbeSummary

if TYPE_CHECKING:
    from diswot.data.base import ImageData

_COMMAND = Command(
    "probe",
    "probe",
    ProbeRecord,
    ProbeSummary,
    axis="step",
    kept="the steps of the fit are kept",
    nothing="nothing is kept yet",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command on ``argv``, else on the command line's words; gives its exit code."""
    return run_app("probe", job, argv)


def job(launch: Launch) -> float:
    """One probe; gives its accuracy on the test images, for Hydra's optimising sweepers."""
    from diswot.console import print_lines

    summary = run_probe(launch.config, launch.path, group=launch.sweep)
    if launch.sweep is None:
        print_lines([f"Next: {_next_command(launch)}"])
    return summary.test_top1


def run_probe(
    config: dict[str, Any], path: Path, *, quiet: bool = False, group: str | None = None
) -> ProbeSummary:
    """Probe a teacher, in a run directory; gives its ``result.json``.

    The config is that of ``conf/probe.yaml``, resolved; ``group`` is of runs that belong together,
    for loggers. Errors are those of `diswot.commands.Session.result`.
    """
    from diswot.checks import choice, number, whole
    from diswot.fingerprints import identified
    from diswot.scoring.runtime import PRECISIONS

    config = settled(config, "teacher", "data")
    whole("seed", config["seed"], 0)
    number("l2", config["l2"], low=0)
    whole("max_steps", config["max_steps"], 1)
    choice("precision", config["precision"], PRECISIONS)
    spec = config["teacher"]
    if "none" in (spec["name"], str(spec["weights"])):
        raise UserError(
            f"teacher={spec['name']} teacher.weights={spec['weights']}: a probe needs a trained "
            "teacher; name one, and give a file, a run directory or a tag of its weights"
        )
    session = Session(_COMMAND, identified(config), path, quiet=quiet, group=group)
    return session.result(_probe, _show_result)


def _probe(session: Session[ProbeRecord, ProbeSummary]) -> ProbeSummary:
    from diswot.config import make
    from diswot.console import counting
    from diswot.data.base import ImageData
    from diswot.models.outputs import count_flops, count_params
    from diswot.probing import batches_of, embedded, fitted, put_in, top1
    from diswot.scoring.runtime import Runtime
    from diswot.teaching import accuracy, build_teacher, save_teacher
    from diswot.versions import versions

    config, run_dir, started = session.config, session.run_dir, time.monotonic()
    spec, device = config["teacher"], config["device"]
    data = make(config["data"], "data", ImageData)
    network = build_teacher(spec, data)
    images, test_images = data.train_dataset(), data.test_dataset()
    session.show(_show_plan, config, data, len(images), session.path)
    batches = batches_of(images, data.batch_size, data.num_workers)
    counted = counting(batches, "embeddings", len(images), lambda batch: len(batch[1]))
    taken = batches if session.quiet else counted
    given = embedded(network, taken, Runtime(device, config["precision"]))
    run_dir.begin()
    run_dir.journal.cut(0)  # a fit that was stopped begins anew
    session.loggers.start()

    def on_step(step: int, loss: float) -> None:
        run_dir.journal.append(ProbeRecord(step, loss))
        session.loggers.log({"loss": loss}, step)

    settings = {"l2": config["l2"], "max_steps": config["max_steps"]}
    fit = fitted(given, data.num_classes, **settings, device=device, on_step=on_step)
    put_in(network, fit)
    tested = accuracy(network, batches_of(test_images, data.batch_size, data.num_workers), device)
    network.to("cpu")
    save_teacher(network, run_dir.path, spec, data)
    summary = ProbeSummary(
        teacher=spec["name"],
        teacher_weights=str(spec["weights"]),
        teacher_sha256=spec.get("sha256"),
        data=data.name,
        num_classes=data.num_classes,
        images=len(images),
        embedding_width=fit.weight.shape[1],
        l2=config["l2"],
        steps=fit.steps,
        converged=fit.converged,
        train_top1=round(top1(fit, given), 4),
        test_top1=round(tested["top1"], 4),
        test_top5=round(tested["top5"], 4),
        params=count_params(network),
        flops=count_flops(network, data.image_shape),
        seconds=round(time.monotonic() - started, 1),
        seed=config["seed"],
        device=device,
        versions=versions(),
    )
    run_dir.save_result(summary)
    session.loggers.finished(asdict(summary), [])
    return summary


def _show_plan(config: dict[str, Any], data: ImageData, images: int, path: Path) -> None:
    """What is about to happen, one line an item; ``images`` are the training images."""
    from diswot.console import print_pairs, shown
    from diswot.teaching import teacher_cost

    spec = config["teacher"]
    cost = teacher_cost(spec, data.num_classes, data.image_shape)
    print_pairs(
        {
            "teacher": f"{spec['name']} (weights: {spec['weights']}), {cost}",
            "data": f"{data.name}, {images:,} images of {data.image_size}×{data.image_size}, "
            f"{data.num_classes} classes",
            "probe": f"multinomial logistic regression of the embeddings, l2 {config['l2']:g}",
            "device": f"{config['device']}, {config['precision']}",
            "run dir": shown(path),
        }
    )


def _show_result(summary: ProbeSummary, path: Path) -> None:
    """Accuracies and the paths of the files."""
    from diswot.console import counted, print_lines, shown

    ended = "" if summary.converged else ", not converged; try a larger l2 or max_steps"
    print_lines(
        [
            f"{summary.teacher} with a probe of {summary.embedding_width} features: top-1 "
            f"{summary.test_top1:.2f} %, top-5 {summary.test_top5:.2f} % on the test images; "
            f"top-1 {summary.train_top1:.2f} % on the {summary.images:,} training images",
            f"{counted(summary.steps, 'step')}{ended}, {summary.seconds:.1f} s",
            *(f"  {shown(path / name)}" for name in (summary.checkpoint, "result.json")),
        ]
    )


def _next_command(launch: Launch) -> str:
    """A training by the probed teacher, with the settings that were given here."""
    from diswot.console import shown

    words = [f"teacher={launch.choices['teacher']}", f"data={launch.choices['data']}"]
    words += [f"teacher.weights={quote(shown(launch.path))}"]
    weights, given = launch.given("teacher.weights"), launch.given("teacher.", "data.")
    return launch.next_command("train", [*words, *(w for w in given if w not in weights)])


if __name__ == "__main__":
    sys.exit(main())
