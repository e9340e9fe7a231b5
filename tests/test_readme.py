"""Every block of the README is run, or compared with what running gives."""

import contextlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch
from PIL import Image

import diswot

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)
COMMANDS = [line for kind, text in BLOCKS if kind == "bash" for line in text.splitlines()]
MAKE = [line for line in COMMANDS if line.startswith("make ")]
DISWOT = [line for line in COMMANDS if line.startswith("python -m diswot")]
ACTIVATE = "source .venv/bin/activate"
NAMED = list(dict.fromkeys(re.findall(r"\.dir=(runs/(?:search/)?\w+)", "\n".join(DISWOT))))
CHAINS = [[line for line in DISWOT if folder in line] for folder in NAMED]
"""A command that names its folder, and those that use it."""
ALONE = [line for line in DISWOT if not any(line in chain for chain in CHAINS)]
SMALL = {
    "train": "data=gaussian data.length=128 protocol.max_epochs=1 protocol.schedule.warmup=0",
    "search": "strategy.evaluations=2 data.batch_size=16 workers=1 teacher_images=8",
    "race": "data=gaussian data.length=64 rungs=[2] seeds=1 finalists=1 workers=1 images=32",
    "rank": "benchmark.sample=6 data.batch_size=16 workers=1",
    "report": "",
    "export": "",
}
SMALL_PHOTOS = {
    "search": "strategy.evaluations=2 data.batch_size=8 workers=1 space.models=[mobilenetv2_0*]",
    "race": "rungs=[1] seeds=1 finalists=1 workers=1 images=null data.batch_size=4",
}
"""What makes a shown command small; everything else is as shown."""


def shell(line: str, folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-c", line],
        cwd=folder,
        env={**os.environ, "PATH": path, **env},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def test_every_block_is_of_a_kind_that_is_tested() -> None:
    assert {kind for kind, _ in BLOCKS} == {"bash", "python", "text", "bibtex"}
    assert all(line.startswith("#") or line in [*MAKE, ACTIVATE, *DISWOT] for line in COMMANDS)
    assert COMMANDS.index(MAKE[0]) < COMMANDS.index(ACTIVATE) < COMMANDS.index(DISWOT[0])
    assert MAKE == ["make search", "make test"]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images in eight folders of classes; beside them the weights of a classifier."""
    timm = pytest.importorskip("timm")
    folder = tmp_path_factory.mktemp("mine") / "photos"
    pixels = torch.randint(0, 256, (40, 50, 3), generator=torch.Generator().manual_seed(7))
    image = Image.fromarray(pixels.to(torch.uint8).numpy())
    for label in range(8):
        (folder / f"class{label}").mkdir(parents=True)
        for number in range(4):
            image.save(folder / f"class{label}" / f"{number}.png")
    weights = timm.create_model("resnet18", num_classes=8).state_dict()
    torch.save(weights, folder.parent / "resnet18.pth")
    return folder


def check(line: str, folder: Path) -> None:
    """Run a command, in this process: a fresh one of `test_make` spends its time on imports."""
    [command] = re.findall(r"^python -m diswot\.(\w+) ", line)
    small = (SMALL_PHOTOS if "teacher.weights=resnet18.pth" in line else SMALL)[command]
    words = shlex.split(f"{line} {small}")
    with contextlib.chdir(folder):
        assert import_module(words[2]).main(words[3:]) == 0
    left = {
        **{"search": "result.json", "rank": "rank.csv", "train": "student.safetensors"},
        **{"race": "student.safetensors", "report": "report.html", "export": "student.onnx"},
    }
    assert list(folder.glob(f"runs/**/{left[command]}"))


@pytest.mark.slow
@pytest.mark.parametrize("line", ALONE)
def test_commands(line: str, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").symlink_to(photos)
    check(line, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("chain", CHAINS, ids=NAMED)
def test_commands_that_use_what_another_left(
    chain: list[str], photos: Path, tmp_path: Path
) -> None:
    for path in photos.parent.iterdir():
        (tmp_path / path.name).symlink_to(path)
    assert len(chain) > 1
    for line in chain:
        check(line, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("line", MAKE)
def test_make(line: str, tmp_path: Path) -> None:
    """The real targets, kept short by ARGS; from the environment that `make` made."""
    if Path(sys.prefix) != ROOT / ".venv" or shutil.which("make") is None:
        pytest.skip("runs under `make test`, whose .venv it uses")
    short = {
        "make search": f"{SMALL['search']} hydra.run.dir={tmp_path}/run",
        "make test": "-n 0 tests/test_package.py",
    }
    done = shell(line, ROOT, ARGS=short[line])
    assert done.returncode == 0, done.stderr
    assert ("Best 2 of 2" if line == "make search" else " passed") in done.stdout


def test_python_block(tmp_path: Path) -> None:
    (block,) = [text for kind, text in BLOCKS if kind == "python"]
    assert len(block.splitlines()) <= 10
    script = tmp_path / "script.py"
    script.write_text(block, encoding="utf-8")  # no __main__ guard, although workers start
    done = shell(f"{sys.executable} {script}", tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert re.match(r"s0:\d-\d-\d \d+ \d", done.stdout)
    assert list(tmp_path.iterdir()) == [script]


def test_shown_output_is_what_the_code_gives() -> None:
    (shown,) = [text for kind, text in BLOCKS if kind == "text"]
    rows = re.findall(r"│ \d │ (s1:\S+) +│.*│ +(-[\d.]+) │ +([\d,]+) │ +([\d,]+) │", shown)
    assert len(rows) == 5
    arch, score, params, flops = rows[0]
    found = diswot.score_arch(arch, space="s1", teacher="resnet110")
    assert found.value == pytest.approx(float(score), rel=1e-2)
    assert (found.cost.params, found.cost.flops) == tuple(
        int(number.replace(",", "")) for number in (params, flops)
    )
