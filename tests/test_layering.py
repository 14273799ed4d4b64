"""app -> probing -> model, never upward; and nothing below the app knows Streamlit."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ALLOWED = {"model": {"model"}, "probing": {"probing", "model"}, "app": {"app", "probing", "model"}}


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add((node.module or "").split(".")[0])
    return names


@pytest.mark.parametrize("package", ALLOWED)
def test_imports_point_downward(package: str) -> None:
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    for path in files:
        ours = imported(path) & set(ALLOWED)
        if path == ROOT / "model" / "__main__.py":  # a command, and commands may look anywhere below the app
            ours -= {"probing"}
        assert ours <= ALLOWED[package], f"{path} imports {ours - ALLOWED[package]}"
        if package != "app":
            assert "streamlit" not in imported(path), path


def test_no_package_is_shadowed_by_the_app_folder() -> None:
    """Streamlit puts app/ first on sys.path, so a file there named like a package would hide it."""
    assert not {path.stem for path in (ROOT / "app").iterdir()} & {"app", "model", "probing", "tests"}
