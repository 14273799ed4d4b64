"""Imports point downward, everywhere: app > probing > model, and the layers inside each. No circle, nothing private.

Every import counts, those inside functions and under TYPE_CHECKING too.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import networkx as nx

ROOT = Path(__file__).parent.parent
LAYERS: tuple[tuple[str, ...], ...] = (
    ("model", "model.errors"),
    ("model.files", "model.processes"),
    ("model.values",),
    ("model.stats", "model.store"),
    ("model.problems", "model.tokenizer"),
    ("model.formats", "model.metrics"),
    (
        "model.codec",
        "model.codec_slots",
        "model.codec_symbols",
        "model.codec_text",
        "model.transformer",
        "model.deferred",
        "model.rows",
        "model.mimetic",
    ),
    ("model.coconut",),
    ("model.readout", "model.flags", "model.precision"),
    ("model.config_file",),
    ("model.evaluate", "model.checkpoint"),
    ("model.training", "model.imports"),
    ("model.cli",),
    ("probing.read",),
    ("probing.edit",),
    ("probing.draw",),
    ("probing.dataset",),
    ("model.__main__", "probing", "probing.commands", "probing.__main__"),
    ("app",),
)
"""From the lowest: a file imports from its own layer and from lower ones. A folder stands for all in it, but
``model`` and ``probing`` stand for their own ``__init__`` alone."""

FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in ("model", "probing", "app")
    for path in sorted((ROOT / package).rglob("*.py"))
}


def imports(module: str) -> Iterator[tuple[str, str]]:
    """(module, name taken from it) of everything a file imports; the name is empty where the module itself is."""
    for node in ast.walk(ast.parse(FILES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield (whole, "") if whole in FILES else (str(node.module), alias.name)


def layer(module: str) -> int:
    def holds(name: str) -> bool:
        return module == name or (name not in ("model", "probing") and module.startswith(f"{name}."))

    found = [i for i, names in enumerate(LAYERS) if any(map(holds, names))]
    assert found, f"{module} is in no layer"
    return found[0]


ARROWS = sorted({(module, to) for module in FILES for to, _ in imports(module) if to in FILES})


def test_imports_point_downward() -> None:
    assert not [(a, b) for a, b in ARROWS if layer(b) > layer(a)]


def test_no_circle() -> None:
    assert not [found for found in nx.strongly_connected_components(nx.DiGraph(ARROWS)) if len(found) > 1]


def test_nothing_private_is_imported() -> None:
    ours = [(a, b, name) for a in FILES for b, name in imports(a) if b in FILES]
    assert not [arrow for arrow in ours if arrow[2].startswith("_")]


def test_the_slot_format_and_its_token_ids_are_known_to_the_registry_of_codecs_alone() -> None:
    """All else goes by ``model.codec``, so a new prompt format is one new codec file."""
    for codec, name in (
        ("model.codec_slots", "SlotCodec"),
        ("model.codec_symbols", "SymbolCodec"),
        ("model.codec_text", "TextCodec"),
    ):
        taken = {(a, each) for a in FILES for b, each in imports(a) if b == codec}
        assert taken - {("model.coconut", "TextFormat")} == {("model.coconut", name)}


def test_streamlit_stays_in_the_app() -> None:
    for module in FILES:
        if not module.startswith("app"):
            assert not [name for name, _ in imports(module) if name.split(".")[0] == "streamlit"], module


def test_no_package_is_shadowed_by_the_app_folder() -> None:
    """Streamlit puts app/ first on sys.path, so a file there named like a package would hide it."""
    assert not {path.stem for path in (ROOT / "app").iterdir()} & {"app", "model", "probing", "tests"}
