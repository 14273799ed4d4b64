"""What strangers may send, by chance: ``python -m tests.fuzz --minutes 5 --seed 0`` (``make fuzz``).

A try survives if it gives a result or one sentence, soon, and takes nothing with it. Tries are told apart by seed, kind
and number, and each can be made again alone (``--only KIND:NUMBER``).
"""

from __future__ import annotations

import io
import json
import random
import resource
import shutil
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Annotated, Any
from unittest.mock import patch

import torch
import typer
from streamlit.testing.v1 import AppTest
from torch import Tensor
from typer.testing import CliRunner

from app import compute, hosted
from app.dataset.state import Reading
from app.explore.state import View
from app.hosted import OWN, Limits
from app.intervene.state import Lab
from app.links import Link, pack, unpack
from app.training.state import Course
from model import checkpoint
from model.__main__ import app as model_app
from model.errors import InputError
from model.formats.graph import read_file, read_graph, read_problems, write_problems
from model.imports.run import import_checkpoint
from model.imports.told import FAMILIES, Told
from model.problems.generate import generate
from model.training.folder import read_run_folder
from model.training.run import train_run
from probing.edit.spec import PRESETS, EditPlan

ROOT = Path(__file__).parent.parent
TINY = checkpoint.CHECKPOINTS / "prosqa-tiny"
PATIENCE = 5.0
"""Seconds of processor time that a try may take."""
SLOW = {"app": 10, "resumed folders": 4}
"""Kinds of which a try may take so many times that."""
MOST_MEMORY = 1 << 20
"""Kilobytes by which a try may make the process larger than it ever was."""
LEAST = 20
"""Tries of a kind that is not slow, however busy the machine."""

READERS: dict[str, Callable[[str], object]] = {
    "graph": read_graph, "problems": read_problems, "edit": EditPlan.parse, "graph in a link": unpack,
    "file": partial(read_file, name="x.csv"),
}  # fmt: skip
UNITS = (
    "/**/", "/* a */\n", "# a\n", "// \n", "{", "[",
    '{"a":', "((", '"', "a -> b\n", "a b\n", "is a is a ", "Every a is a b. ", "As are bs. ",
    " are ", " or ", "Are as bs or cs?",
    "<a>", "<!-- ", "&amp;", "strict graph ", "name:a+", "swap:t=1&", "t=1,", "\\", " \t", "->", "\n\n", "aaaaaaaaa ",
)  # fmt: skip
"""Pieces of what readers read."""
ODD = ("", "null", "-1", "1e999", "9" * 30, "NaN", "true", "\x00", "\ud800", "../..", "/dev/zero", "~root", "é" * 300)
VALUES: tuple[object, ...] = (
    None, -1, 0, 1, 3, 10**9, 10**30, 0.5, 1e308, float("nan"), float("inf"), True, "", "x", "2", "evil", [], [1], {},
    {"a": []}, [[]], "x" * 10_000,
)  # fmt: skip
"""What may stand in a file of JSON."""


def mutated(rng: random.Random, text: str, pieces: tuple[str, ...] = (*UNITS, *ODD)) -> str:
    """A text with a few things cut, doubled, swapped or put in."""
    for _ in range(rng.randint(1, 4)):
        start = rng.randint(0, len(text))
        stop = min(len(text), start + rng.choice((0, 1, 8, 100)))
        part = text[start:stop]
        put = rng.choice((rng.choice(pieces), part * rng.choice((2, 3, 50)), chr(rng.randrange(1, 0xD800)), ""))
        text = text[:start] + put * rng.choice((1, 1, 1, 20)) + text[stop:]
    return text


def damaged(rng: random.Random, path: Path) -> None:
    """A file with some bytes others, cut short, empty, or gone."""
    data, kind = bytearray(path.read_bytes()), rng.randrange(4)
    if kind == 0 or not data:
        path.unlink()
        return
    if kind == 1:
        data = data[: rng.randrange(len(data))]
    for _ in range(rng.choice((1, 3, 50)) if data else 0):
        data[rng.randrange(min(len(data), rng.choice((64, 1000, len(data)))))] = rng.randrange(256)
    path.write_bytes(data)


def changed(rng: random.Random, value: Any) -> Any:
    """A value of JSON with one place made another."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(sorted(value))
        return value | {key: changed(rng, value[key])}
    if isinstance(value, list) and value and rng.random() < 0.8:
        place = rng.randrange(len(value))
        return [*value[:place], changed(rng, value[place]), *value[place + 1 :]]
    return rng.choice(VALUES)


# --- one try of each kind: made ready, then what may be refused -------------------------------------------------------

Try = Callable[[], object]


@cache
def _texts(seed: int) -> list[str]:
    """Texts that the readers take."""
    from test_formats import SAMPLES

    problems = list(generate("balanced", 1, seed, hops=(2, 3), nodes=(6, 12)))
    row = write_problems(problems)
    return [*SAMPLES.values(), row, f"[{row}]", *(each.format(t="1+2") for each in PRESETS.values())]


def readers(rng: random.Random, place: Path) -> Try:
    text = mutated(rng, rng.choice(_texts(rng.randrange(20))))
    name = rng.choice(sorted(READERS))
    packed = pack(text.encode("utf-8", "replace").decode()) if rng.random() < 0.8 else text
    return lambda: READERS[name](packed if name == "graph in a link" else text)


def commands(rng: random.Random, place: Path) -> Try:
    given, out = place / "given.json", place / "out.json"
    given.write_text(mutated(rng, rng.choice(_texts(rng.randrange(20)))), encoding="utf-8", errors="surrogatepass")
    out.write_text("before")
    words = rng.choice((["convert", str(given), str(out)], ["audit", str(given)]))

    def run() -> None:
        done = CliRunner().invoke(model_app, words)
        assert out.read_text(), "an old output was emptied"
        assert {path.name for path in place.iterdir()} == {"given.json", "out.json"}, "scraps are left"
        if done.exception and (not isinstance(done.exception, SystemExit) or done.exit_code not in (0, 2)):
            raise done.exception

    return run


LINKS: dict[str, type[Link]] = {"explore": View, "intervene": Lab, "training": Course, "dataset": Reading}


def _query(rng: random.Random, kind: type[Link]) -> dict[str, str]:
    """A query string with a few parameters made others."""
    names = [info.alias or name for name, info in kind.model_fields.items() if not info.exclude]
    query = View(source="custom", text=rng.choice(_texts(rng.randrange(20)))).encode()
    for name in rng.sample([*names, "graph"], rng.randint(1, 3)):
        known = query.get(name, rng.choice(("1", "3-4", "custom", "prosqa-tiny", "", "swap:t=1")))
        query[name] = mutated(rng, known) if rng.random() < 0.6 else rng.choice(ODD)
    return query


def links(rng: random.Random, place: Path) -> Try:
    kind = LINKS[rng.choice(sorted(LINKS))]
    query = _query(rng, kind)

    def follow() -> None:
        found = kind.decode(query)
        assert kind.decode(found.encode()).encode() == found.encode(), (
            "a link to what a link shows shows something else"
        )

    return follow


def checkpoints(rng: random.Random, place: Path) -> Try:
    folder = place / "model"
    shutil.copytree(rng.choice((TINY, TINY.with_name("prosqa-text"))), folder)
    file = folder / "config.json"
    if rng.random() < 0.6:
        file.write_text(json.dumps(changed(rng, json.loads(file.read_text()))))
    else:
        damaged(rng, rng.choice([file, folder / "model.safetensors"]))

    def load_and_ask() -> None:
        model = checkpoint.load(folder)
        model.codec.prompts(compute.example(str(folder)), 2, seed=0)

    return load_and_ask


@cache
def _foreign() -> tuple[dict[str, Tensor], ...]:
    """State dicts of three families, made once."""
    from test_imports import base, codi, tensors, upstream

    return upstream(base()), codi(base()), tensors(base())


def _bent(rng: random.Random, name: str, tensor: Tensor) -> dict[str, Any]:
    """What stands in a state dict in place of a tensor: nothing, or it under another name, in another shape, of another
    kind or value, or with something beside it."""
    changes: tuple[Callable[[], dict[str, Any]], ...] = (
        dict,
        lambda: {mutated(rng, name, (".", "h.1.", "transformer.", ".lora_A.default", "0", "-")): tensor},
        lambda: {name: tensor.flatten()}, lambda: {name: tensor[None]}, lambda: {name: tensor[:0]},
        lambda: {name: tensor[: len(tensor) // 2]}, lambda: {name: tensor[(0,) * tensor.ndim]},
        lambda: {name: tensor.to(rng.choice((torch.int32, torch.bool, torch.complex64, torch.float16)))},
        lambda: {name: tensor * rng.choice((float("nan"), float("inf"), 1e30))},
        lambda: {name: rng.choice(VALUES)}, lambda: {name: tensor, f"{name}.{rng.choice(('x', 'weight'))}": tensor},
    )  # fmt: skip
    return rng.choice(changes)()


def _pickle(rng: random.Random) -> bytes:
    """A pickle put together by chance, plain or in an archive of torch's, with or without torch's own beginning."""
    called = [
        "torch._utils\n_rebuild_tensor_v2",
        "collections\nOrderedDict",
        "torch\nFloatStorage",
        "torch\nHalfStorage",
    ]
    if rng.random() < 0.5:  # or nothing is called, as all of it is looked at before
        called += ["builtins\nbytearray", "builtins\neval", "torch.nn\nLinear", "torch\nfloat16"]
    pieces = [f"c{name}\n".encode() for name in called]
    pieces += [bytes([code]) for code in b")}]RbsutaeQ02N(\x85\x86\x87\x81\x88"]
    pieces += [b"q\0", b"h\0", b"K\7", b"J\xff\xff\xff\x7f", b"X\1\0\0\0a", b"\x8a\4\0\0\0\x7f", b"M\0\1"]
    body = b"\x80\2" + b"".join(rng.choices(pieces, k=rng.randint(1, 40))) + b"."
    if rng.random() < 0.5:
        return body * rng.randint(1, 6)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("x/data.pkl", body)
        archive.writestr("x/version", "3\n")
    return packed.getvalue()


def imports(rng: random.Random, place: Path) -> Try:
    """A folder of another code: what is made of it can be opened, or nothing is made."""
    source, out = place / "theirs", place / "made"
    source.mkdir()
    state: dict[str, Any] = dict(rng.choice(_foreign()))
    for name in rng.sample(sorted(state), rng.randint(0, 2)):
        state |= _bent(rng, name, state.pop(name))
    file = source / "pytorch_model.bin"
    torch.save(state, file, _use_new_zipfile_serialization=rng.random() < 0.7)
    if rng.random() < 0.2:
        damaged(rng, file)
    elif rng.random() < 0.2:
        file.write_bytes(_pickle(rng))
    config = {"latent_id": 50257, "latent_start_id": 50258, "latent_end_id": 50259, "n_head": 4}
    if rng.random() < 0.5:
        (source / "config.json").write_text(json.dumps(changed(rng, config)))
    told: dict[str, Any] = {"thoughts": 3, "c_thought": 1, "task": "prosqa", "n_head": 4, "family": None}
    if rng.random() < 0.2:
        told["family"] = rng.choice(FAMILIES)
    if rng.random() < 0.2:
        told[rng.choice(("thoughts", "c_thought", "n_head"))] = rng.choice((0, 1, 7, 10**6))

    def make_and_open() -> None:
        try:
            import_checkpoint(source, out, told=Told(**told), check=False)
        except InputError:
            assert [path.name for path in place.iterdir()] == ["theirs"]
            raise
        checkpoint.load(out)

    return make_and_open


@cache
def _run() -> tempfile.TemporaryDirectory[str]:
    """A very short training run, made once."""
    from test_runs import run_settings

    folder = tempfile.TemporaryDirectory()
    list(train_run(run_settings(), Path(folder.name) / "run"))
    return folder


def resumed(rng: random.Random, place: Path) -> Try:
    """A run folder with a damaged file: read for the page Training, and resumed."""
    from test_runs import run_settings

    out = place / "again"
    shutil.copytree(Path(_run().name) / "run", out)
    file = rng.choice(sorted(path for path in out.rglob("*") if path.is_file()))
    if file.suffix == ".json" and rng.random() < 0.5:
        file.write_text(json.dumps(changed(rng, json.loads(file.read_text()))))
    else:
        damaged(rng, file)

    def read_and_resume() -> None:
        with suppress(InputError):
            read_run_folder(out)
        list(train_run(run_settings(), out, resume=True))

    return read_and_resume


def pages(rng: random.Random, place: Path) -> Try:
    name = rng.choice(sorted(LINKS))
    page = AppTest.from_file(str(ROOT / "app" / name / f"{name}.py"), default_timeout=60)
    for key, value in ({"checkpoint": "prosqa-tiny", "draws": "1"} | _query(rng, LINKS[name])).items():
        page.query_params[key] = value.encode("utf-8", "replace").decode()
    limits = rng.choice((OWN, Limits()))

    def open_page() -> None:
        with patch.object(hosted, "LIMITS", limits):
            page.run()
        assert not page.exception, page.exception[0].message
        if page.error:
            raise InputError(page.error[0].value)

    return open_page


KINDS: dict[str, Callable[[random.Random, Path], Try]] = {
    "readers": readers, "commands": commands, "links": links, "checkpoints": checkpoints, "imports": imports,
    "resumed folders": resumed, "app": pages,
}  # fmt: skip


# --- many -------------------------------------------------------------------------------------------------------------


@dataclass
class Tally:
    """What became of the tries of one kind."""

    tried: int = 0
    survived: int = 0
    refused: int = 0
    """Of those that survived, by one sentence."""
    faults: dict[int, str] = field(default_factory=dict)
    """Number of a try -> what was wrong."""


def one(kind: str, number: int, seed: int) -> bool:
    """One try; whether it was refused. Raises what was wrong."""
    slow = SLOW.get(kind, 1) * PATIENCE
    with tempfile.TemporaryDirectory() as place:
        ready = KINDS[kind](random.Random(f"{seed} {kind} {number}"), Path(place))
        said, began, before = None, time.thread_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        try:
            ready()
        except InputError as error:
            said = str(error)
        spent = time.thread_time() - began
        assert spent < slow, f"took {spent:.1f} s"
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        assert grown < MOST_MEMORY, f"took {grown >> 10} MB"
        if said is None:
            return False
        assert said.strip(), "an empty sentence"
        assert len(said) < 2000, f"a sentence of {len(said)} characters"
        return True


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the warnings of libraries, which hostile input makes a lot of."""
    import logging
    import warnings

    logging.disable(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    logging.disable(logging.NOTSET)


def fuzz(seconds: float, seed: int, kinds: Mapping[str, object] = KINDS) -> dict[str, Tally]:
    """Tries of each kind in turn, for as long in each."""
    found = {kind: Tally() for kind in kinds}
    with _quiet():
        for kind, tally in found.items():
            ends = time.monotonic() + seconds / len(found)
            while time.monotonic() < ends or tally.tried < (1 if kind in SLOW else LEAST):
                try:
                    tally.refused += one(kind, tally.tried, seed)
                    tally.survived += 1
                except Exception as error:  # noqa: BLE001  what is looked for
                    tally.faults[tally.tried] = f"{type(error).__name__}: {str(error)[:200]}"
                tally.tried += 1
    return found


def main(
    minutes: float = 5,
    seed: int = 0,
    only: Annotated[str, typer.Option(help="KIND, or KIND:NUMBER for one try with its traceback.")] = "",
) -> None:
    kind, _, number = only.partition(":")
    if number:
        one(kind, int(number), seed)
        return
    found = fuzz(60 * minutes, seed, {kind: None} if kind else KINDS)
    for kind, tally in found.items():
        print(f"{kind:<16} tried {tally.tried:>7,}  survived {tally.survived:>7,}  (refused {tally.refused:,})")
        for n, fault in list(tally.faults.items())[:10]:
            print(f"    --seed {seed} --only '{kind}:{n}'  {fault}")
    sys.exit(any(tally.faults for tally in found.values()))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    typer.run(main)
