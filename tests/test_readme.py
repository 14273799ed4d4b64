"""What the README tells a newcomer to type works as it stands there."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_commands_of_your_own_graph_run(tmp_path) -> None:
    block = README.split("## Your own graph")[1].split("## ")[0]
    lines = re.findall(r"^    (.+)$", block, flags=re.MULTILINE)
    assert len(lines) == 4
    for line in lines:
        command = line.replace("python -m", f"{shlex.quote(sys.executable)} -m", 1)
        done = subprocess.run(
            ["/bin/sh", "-c", command], cwd=tmp_path, env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            capture_output=True, text=True, timeout=240, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{line}\n{done.stderr}"
        assert "Traceback" not in done.stderr
    assert "zumpus" in (tmp_path / "staircase.svg").read_text(encoding="utf-8")


def test_every_command_named_exists() -> None:
    named = set(re.findall(r"`python -m (model|probing) ([a-z-]+)`", README))
    assert len(named) >= 11
    for package in ("model", "probing"):
        module = __import__(f"{package}.__main__", fromlist=["app"])
        known = {
            command.name or command.callback.__name__.replace("_", "-") for command in module.app.registered_commands
        }
        assert {name for where, name in named if where == package} == known


def test_the_tree_names_every_file_and_nothing_else() -> None:
    tree = re.findall(r"^( *)([^ \n]+) +(.+)$", README.split("## Files")[1].split("```\n")[1], flags=re.MULTILINE)
    named, folder = set(), ""
    for indent, name, phrase in tree:
        assert phrase
        folder = folder if indent else name
        named.add(folder + name if indent else name)
        assert (ROOT / (folder + name if indent else name)).exists(), name
    for package in ("model", "probing", "app", "benchmarks"):
        files = {str(path.relative_to(ROOT)) for path in (ROOT / package).rglob("*.py")}
        assert {name for name in files if not name.endswith("__init__.py")} <= named
        assert {f"{Path(name).parent}/" for name in files} <= named


def test_links_lead_somewhere() -> None:
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    for page in pages:
        for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_what_readme_says_is_shown_leads_to_its_row_of_claims() -> None:
    readme, claims = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "docs/claims.md"))
    linked = set(re.findall(r"docs/claims[.]md#([a-z]+)", readme))
    assert linked
    assert linked <= set(re.findall(r'<a id="([a-z]+)">', claims))
    table = readme[: readme.index("| thoughts 1, 2, 3 |")].splitlines()[-2]
    assert all("docs/claims.md#" in cell for cell in table.split("|")[2:-1])
