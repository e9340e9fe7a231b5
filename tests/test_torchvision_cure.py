"""``_torchvision.ensure``, each case in a fresh process: operators cannot be undeclared."""

import ast
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "diswot"
NEED_THE_CURE = {"torchvision", "lightning", "pytorch_lightning", "torchmetrics", "timm"}
UNLOADABLE = """
    import torch
    def load_library(path):
        raise OSError(f"cannot load {path}")
    torch.ops.load_library = load_library
"""

# Declares, once, every operator that torchvision's own library declares.
LOADABLE = """
    import importlib.util, re, torch
    from pathlib import Path
    folder = Path(importlib.util.find_spec("torchvision").origin).parent
    meta = (folder / "_meta_registrations.py").read_text()
    loaded, libraries = [], []
    def load_library(path):
        loaded.append(path)
        if libraries:
            return
        libraries.append(library := torch.library.Library("torchvision", "DEF"))
        for name in {*re.findall(r'register_meta\\("(\\w+)"', meta), "nms", "qnms"}:
            library.define(name + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.define("_cuda_version() -> int")
        library.impl("_cuda_version", lambda: -1, "CompositeExplicitAutograd")
    torch.ops.load_library = load_library
"""


def run(*parts: str) -> str:
    script = "\n".join(textwrap.dedent(part) for part in parts)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_operators_are_declared_where_the_library_does_not_load() -> None:
    run(
        UNLOADABLE,
        """
        from diswot import _torchvision
        _torchvision.ensure()
        _torchvision.ensure()
        import torchvision, torchmetrics
        _torchvision.ensure()
        assert torchvision.models.resnet18
        """,
    )


def test_nothing_is_declared_where_the_library_loads() -> None:
    """Nor could it be unnoticed: a second declaration is an error."""
    run(
        LOADABLE,
        """
        from diswot import _torchvision
        _torchvision.ensure()
        assert len(loaded) == 1 and _torchvision._declare.cache_info().currsize == 0
        _torchvision.ensure()
        assert len(loaded) == 1
        import torchvision
        assert torchvision.extension._has_ops()
        try:
            _torchvision._declare()
        except RuntimeError:
            pass
        else:
            raise AssertionError
        """,
    )


def test_nothing_happens_without_torchvision() -> None:
    run(
        """
        import importlib.util, torch
        importlib.util.find_spec = lambda name: None
        from diswot import _torchvision
        _torchvision.ensure()
        assert not hasattr(torch.ops.torchvision, "nms")
        """
    )


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: path.stem)
def test_every_module_cures_torchvision_before_it_imports_it(path: Path) -> None:
    package = path.with_name("__init__.py").read_text()  # it runs before its modules
    cured = path.stem != "__init__" and any(map(is_ensure, statements(package)))
    assert list(uncured(ast.parse(path.read_text()), cured)) == []


def statements(source: str) -> list[ast.expr]:
    return [node.value for node in ast.parse(source).body if isinstance(node, ast.Expr)]


def uncured(node: ast.AST, cured: bool = False) -> Iterator[int]:
    """Lines that import a user of torchvision where no ``ensure()`` ran before in their scope."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        if isinstance(child, ast.Import | ast.ImportFrom) and not cured and needs_cure(child):
            yield child.lineno
        yield from uncured(child, cured)
        cured = cured or (isinstance(child, ast.Expr) and is_ensure(child.value))


def needs_cure(node: ast.Import | ast.ImportFrom) -> bool:
    names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module]
    return any(name and name.partition(".")[0] in NEED_THE_CURE for name in names)


def is_ensure(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] == "ensure"
