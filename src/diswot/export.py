"""``diswot export``: a trained student as one file that runs without diswot."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diswot.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["export_student", "main"]

FORMATS = {"torch": "student.pt2", "onnx": "student.onnx"}
"""What there is, and the file each is by default, in the run directory."""

_BATCHES = (1, 3)
_TOLERANCE = 1e-4  # of the largest logit; the formats reorder sums

Run = Callable[["Tensor"], "Tensor"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: Arguments without the program; by default those of the command line.

    Returns:
        Exit code: 0, 2 for wrong input, 130 after Ctrl-C.
    """
    arguments = _parser().parse_args(sys.argv[1:] if argv is None else argv)
    try:
        lines = _export(arguments)
    except (UserError, OSError) as error:
        sys.stderr.write(f"diswot export: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("Stopped; no file was written.\n")
        return 130
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "diswot export",
        description="Write a trained student as one file that runs without diswot, and run it.",
        epilog="example: diswot export runs/train/mine --format onnx --output student.onnx",
    )
    parser.add_argument("run", type=Path, help="run directory of diswot train")
    parser.add_argument(
        "--format",
        choices=FORMATS,
        default="torch",
        help="torch: torch.export; onnx: needs diswot[onnx] (default: torch)",
    )
    parser.add_argument("--output", type=Path, help="file (default: student.pt2 or .onnx in run)")
    parser.add_argument("--config-dir", type=Path, help="a folder of further configs")
    return parser


def _export(arguments: argparse.Namespace) -> list[str]:
    from diswot.checkpoint import read_student

    output = arguments.output or arguments.run / FORMATS[arguments.format]
    folder = arguments.config_dir
    error = export_student(arguments.run, output, format=arguments.format, config_dir=folder)
    told = read_student(arguments.run, config_dir=folder)
    shape = f"(B, {told['in_channels']}, {told['image_size']}, {told['image_size']})"
    return [
        f"Images {shape} in [0, 1], minus {told['mean']}, divided by {told['std']}.",
        f"Logits differ by at most {error:.1e} from the student's, at batch sizes "
        f"{' and '.join(map(str, _BATCHES))}.",
        f"  {output}",
    ]


def export_student(
    run: str | Path,
    output: str | Path,
    *,
    format: str = "torch",
    config_dir: str | Path | None = None,
) -> float:
    """Write a trained student as one file; it takes batches of any size.

    Args:
        run: A run directory of ``diswot train``.
        output: The file; it is replaced in one step, and only if it computes what it should.
        format: ``torch`` (read it with ``torch.export.load``) or ``onnx``.
        config_dir: See :func:`~diswot.checkpoint.load_student`.

    Returns:
        The largest difference of a logit from the student's.

    Raises:
        UserError: No trained student, a missing package, or a file that computes something else.
    """
    import torch

    from diswot.checkpoint import load_student, read_student
    from diswot.checks import choice

    if choice("--format", format, FORMATS) == "onnx":
        _check_onnx()
    told = read_student(run, config_dir=config_dir)
    path = Path(output).expanduser()
    if path.is_dir() or not path.parent.is_dir():
        problem = "is a folder" if path.is_dir() else "lies in a folder that does not exist"
        raise UserError(f"--output: {path} {problem}; give the name of a file")
    student = load_student(run, config_dir=config_dir)
    shape = (told["in_channels"], told["image_size"], told["image_size"])
    generator = torch.Generator().manual_seed(0)
    batches = [torch.randn(size, *shape, generator=generator) for size in _BATCHES]
    with _draft(path) as draft, torch.no_grad():
        exported = _written(student, batches[-1], draft, format)
        return _compare(student, exported, batches, path)


def _written(student: nn.Module, images: Tensor, file: Path, format: str) -> Run:
    try:
        return _WRITERS[format](student, images, file)
    except (RuntimeError, ValueError) as error:  # of torch: what it cannot trace
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"--format {format} cannot express the student ({reason})") from error


@contextmanager
def _draft(path: Path) -> Iterator[Path]:
    """A file that becomes ``path`` when all went well, else is gone."""
    draft = path.with_name(f".{path.stem}.tmp{path.suffix}")
    try:
        yield draft
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _compare(student: nn.Module, exported: Run, batches: Sequence[Tensor], path: Path) -> float:
    worst = 0.0
    for images in batches:
        expected, found = student(images), exported(images)
        scale = expected.abs().max().item()
        error = (
            (expected - found).abs().max().item() if found.shape == expected.shape else float("nan")
        )
        if not error <= _TOLERANCE * scale:
            raise UserError(
                f"{path} is not written: its logits of {len(images)} images differ by {error:.1e} "
                f"from the student's, whose largest is {scale:.1e}"
            )
        worst = max(worst, error)
    return worst


def _write_torch(student: nn.Module, images: Tensor, file: Path) -> Run:
    import torch

    program = torch.export.export(student, (images,), dynamic_shapes=_any_batch())
    with file.open("wb") as stream:
        torch.export.save(program, stream)
    with file.open("rb") as stream:
        run: Run = torch.export.load(stream).module()
    return run


def _write_onnx(student: nn.Module, images: Tensor, file: Path) -> Run:
    import torch

    with warnings.catch_warnings(action="ignore"):  # of torch about itself
        torch.onnx.export(
            student,
            (images,),
            file,
            input_names=["images"],
            output_names=["logits"],
            dynamic_shapes=_any_batch(),
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    session = import_module("onnxruntime").InferenceSession(
        str(file), providers=["CPUExecutionProvider"]
    )

    def run(images: Tensor) -> Tensor:
        return torch.from_numpy(session.run(["logits"], {"images": images.numpy()})[0])

    return run


_WRITERS = {"torch": _write_torch, "onnx": _write_onnx}


def _any_batch() -> tuple[dict[int, Any]]:
    from torch.export import Dim

    return ({0: Dim("batch")},)


def _check_onnx() -> None:
    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if find_spec(name) is None]
    if missing:
        raise UserError(
            f"--format onnx: {', '.join(missing)} not installed; pip install 'diswot[onnx]'"
        )


if __name__ == "__main__":
    sys.exit(main())
