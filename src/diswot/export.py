"""Export a trained student as one file that runs without diswot: ``diswot export``."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from diswot.commands import exit_code
from diswot.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor, nn


FORMATS = {"torch": "student.pt2", "onnx": "student.onnx"}  # the default file of each

_ONNX = ("onnx", "onnxscript", "onnxruntime")
_BATCHES = (1, 3)
_TOLERANCE = 1e-4  # of the largest logit; the formats reorder sums

Run = Callable[["Tensor"], "Tensor"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command on ``argv``, else on the command line's words; gives its exit code."""
    parser = argparse.ArgumentParser(
        "diswot export",
        description="Write a trained student as one file that runs without diswot, and run it.",
        epilog="example: diswot export runs/train/mine --format onnx --output student.onnx",
    )
    parser.add_argument("run", type=Path, help="run directory of diswot train")
    formats = "torch: torch.export; onnx: needs diswot[onnx] (default: torch)"
    parser.add_argument("--format", choices=FORMATS, default="torch", help=formats)
    parser.add_argument("--output", type=Path, help="file (default: student.pt2 or .onnx in run)")
    parser.add_argument("--config-dir", type=Path, help="a folder of further configs")
    given = parser.parse_args(sys.argv[1:] if argv is None else argv)
    return exit_code("export", lambda: _export(given), stopped="Stopped; no file was written.")


def _export(given: argparse.Namespace) -> None:
    from diswot.checkpoint import read_student
    from diswot.console import print_lines

    folder = given.config_dir
    output = given.output or given.run / FORMATS[given.format]
    error = export_student(given.run, output, format=given.format, config_dir=folder)
    student = read_student(given.run, config_dir=folder)
    shape = f"(B, {student['in_channels']}, {student['image_size']}, {student['image_size']})"
    sizes = " and ".join(map(str, _BATCHES))
    scaled = f"in [0, 1], minus {student['mean']}, divided by {student['std']}"
    logits = f"Logits differ by at most {error:.1e} from the student's, at batch sizes {sizes}."
    print_lines([f"Images {shape} {scaled}.", logits, f"  {output}"])


def export_student(
    run: str | Path,
    output: str | Path,
    *,
    format: str = "torch",
    config_dir: str | Path | None = None,
) -> float:
    """Write a trained student as one file that takes batches of any size.

    The file, ``torch`` (read it with ``torch.export.load``) or ``onnx``, is replaced in one step,
    and only if it computes what it should. Gives the largest difference of a logit from the
    student's. No trained student, a missing package, or a file that computes something else raise
    `UserError`.
    """
    import torch

    from diswot.checkpoint import load_student, read_student
    from diswot.checks import choice

    needed = _ONNX if choice("--format", format, FORMATS) == "onnx" else ()
    if missing := [name for name in needed if find_spec(name) is None]:
        raise UserError(
            f"--format onnx: {', '.join(missing)} not installed; pip install 'diswot[onnx]'"
        )
    description = read_student(run, config_dir=config_dir)
    path = Path(output).expanduser()
    if path.is_dir() or not path.parent.is_dir():
        problem = "is a folder" if path.is_dir() else "lies in a folder that does not exist"
        raise UserError(f"--output: {path} {problem}; give the name of a file")
    student = load_student(run, config_dir=config_dir)
    shape = (description["in_channels"], *[description["image_size"]] * 2)
    generator = torch.Generator().manual_seed(0)
    batches = [torch.randn(size, *shape, generator=generator) for size in _BATCHES]
    draft = path.with_name(f".{path.stem}.tmp{path.suffix}")
    try:
        with torch.no_grad():
            try:
                exported = _WRITERS[format](student, batches[-1], draft)
            except (RuntimeError, ValueError) as error:  # of torch: what it cannot trace
                reason = " ".join(str(error).split())[:300]
                problem = f"--format {format} cannot express the student ({reason})"
                raise UserError(problem) from error
            worst = max(_difference(student, exported, images, path) for images in batches)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    return worst


def _difference(student: nn.Module, exported: Run, images: Tensor, path: Path) -> float:
    """The largest difference of a logit, if it is a matter of rounding."""
    expected, logits = student(images), exported(images)
    scale = expected.abs().max().item()
    same = logits.shape == expected.shape
    error = (expected - logits).abs().max().item() if same else float("nan")
    if not error <= _TOLERANCE * scale:
        raise UserError(
            f"{path} is not written: its logits of {len(images)} images differ by {error:.1e} "
            f"from the student's, whose largest is {scale:.1e}"
        )
    return error


def _write_torch(student: nn.Module, images: Tensor, file: Path) -> Run:
    import torch

    shapes = ({0: torch.export.Dim("batch")},)
    program = torch.export.export(student, (images,), dynamic_shapes=shapes)
    with file.open("wb") as stream:
        torch.export.save(program, stream)
    with file.open("rb") as stream:
        return cast("Run", torch.export.load(stream).module())


def _write_onnx(student: nn.Module, images: Tensor, file: Path) -> Run:
    import torch

    settings: dict[str, Any] = {
        **{"input_names": ["images"], "output_names": ["logits"]},
        "dynamic_shapes": ({0: torch.export.Dim("batch")},),
        **{"dynamo": True, "external_data": False, "verbose": False},
    }
    with warnings.catch_warnings(action="ignore"):  # of torch about itself
        torch.onnx.export(student, (images,), file, **settings)
    providers = ["CPUExecutionProvider"]
    session = import_module("onnxruntime").InferenceSession(str(file), providers=providers)
    return lambda images: torch.from_numpy(session.run(None, {"images": images.numpy()})[0])


_WRITERS = {"torch": _write_torch, "onnx": _write_onnx}


if __name__ == "__main__":
    sys.exit(main())
