"""``diswot export``: files that compute what the student does, or none."""

import logging
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import diswot.export
from diswot.checkpoint import build_student, describe_student, load_student, save_student
from diswot.cli import main
from diswot.config import conf_dir, member_node
from diswot.errors import UserError
from diswot.export import export_student

FILES = ["student.json", "student.safetensors"]


@pytest.fixture(autouse=True)
def _no_foreign_handlers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hydra, where another test ran it here, left one that writes to a stream long closed."""
    monkeypatch.setattr(logging.getLogger(), "handlers", [])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of ``diswot train``, its BatchNorms with statistics of some images."""
    path = tmp_path_factory.mktemp("run")
    spec = {"name": "arch", "arch": "s0:1-1-1", "weights": "none"}
    config = {"student": spec, "space": member_node("space", "s0", [conf_dir()])}
    student = build_student(config["student"], config["space"], 5, 1)
    with torch.no_grad():
        for _ in range(20):
            student(torch.randn(16, 1, 8, 8))
    sizes = {"num_classes": 5, "in_channels": 1, "image_size": 8}
    save_student(student, path, describe_student(config, **sizes, mean=[0.3], std=[0.4]))
    return path


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def expected(run: Path, images: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.as_tensor(load_student(run)(images))


def test_torch(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(run)]) == 0
    out, err = capsys.readouterr()
    assert "Images (B, 1, 8, 8) in [0, 1], minus [0.3], divided by [0.4]." in out
    assert "Logits differ by at most" in out
    assert str(run / "student.pt2") in out
    assert err == ""
    images = torch.randn(7, 1, 8, 8)
    program = torch.export.load(run / "student.pt2").module()
    torch.testing.assert_close(program(images), expected(run, images))
    assert names(run) == sorted([*FILES, "student.pt2"])
    (run / "student.pt2").unlink()


def test_onnx(run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for package in ("onnx", "onnxscript"):
        pytest.importorskip(package)
    onnxruntime = pytest.importorskip("onnxruntime")
    assert main(["export", str(run), "--format=onnx", f"--output={tmp_path / 'a.onnx'}"]) == 0
    out, err = capfd.readouterr()
    assert "Logits differ by at most" in out
    assert err == ""
    images = torch.randn(7, 1, 8, 8)
    session = onnxruntime.InferenceSession(tmp_path / "a.onnx")
    (logits,) = session.run(None, {"images": images.numpy()})
    wanted = expected(run, images)
    assert wanted.std(0).min() > 1e-4
    torch.testing.assert_close(torch.from_numpy(logits), wanted, rtol=1e-4, atol=1e-6)
    assert names(tmp_path) == ["a.onnx"]


@pytest.mark.parametrize("error", [1e-3, float("nan")])
def test_files_that_compute_something_else(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: float
) -> None:
    def write(student: nn.Module, images: Tensor, file: Path) -> diswot.export.Run:
        file.touch()
        return lambda images: student(images) * (1 + error * (len(images) == 1))

    (tmp_path / "old.pt2").write_text("old")
    monkeypatch.setitem(diswot.export._WRITERS, "torch", write)
    with pytest.raises(UserError, match=r"old.pt2 is not written: its logits of 1 images differ"):
        export_student(run, tmp_path / "old.pt2")
    assert names(tmp_path) == ["old.pt2"]
    assert (tmp_path / "old.pt2").read_text() == "old"


@pytest.mark.parametrize("stop", [RuntimeError("cannot\ntrace"), KeyboardInterrupt()])
def test_what_stops_halfway_leaves_nothing(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, stop: BaseException
) -> None:
    def write(student: nn.Module, images: Tensor, file: Path) -> diswot.export.Run:
        file.touch()
        raise stop

    monkeypatch.setitem(diswot.export._WRITERS, "torch", write)
    assert (main(["export", str(run)]), capsys.readouterr().err) in [
        (2, "diswot export: --format torch cannot express the student (cannot trace)\n"),
        (130, "Stopped; no file was written.\n"),
    ]
    assert names(run) == FILES


def test_wrong_input(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def refused(*words: str) -> str:
        assert main(["export", *words]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.count("\n") == 1
        return err

    assert "holds no student.json" in refused(str(tmp_path))
    assert f"--output: {tmp_path} is a folder" in refused(str(run), f"--output={tmp_path}")
    absent = tmp_path / "absent" / "a.pt2"
    assert "lies in a folder that does not exist" in refused(str(run), f"--output={absent}")
    with pytest.raises(UserError, match="--format=tflite: allowed are torch, onnx"):
        export_student(run, tmp_path / "a", format="tflite")
    assert names(run) == FILES
    assert names(tmp_path) == []


def test_without_the_extra(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    monkeypatch.setattr(diswot.export, "find_spec", lambda name: None if "script" in name else 1)
    assert main(["export", str(run), "--format", "onnx"]) == 2
    assert capsys.readouterr().err == (
        "diswot export: --format onnx: onnxscript not installed; pip install 'diswot[onnx]'\n"
    )
    assert names(run) == FILES
