"""Questions in words with a written chain of thought, as files have them. No graph is known of them.

========= ===========================================================================================================
rows      JSON list of ``{"question": ..., "steps": [...], "answer": ...}``, the public Coconut code's own
gsm       one problem per line, ``question||<<a>> <<b>> #### answer`` (GSM8k-Aug, github.com/da03)
prontoqa  the JSON of ProntoQA's generator, ``{"example1": {"test_example": {"question", "query", ...}}, ...}``
========= ===========================================================================================================
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from model.errors import GraphError, InputError
from model.files import parse_json, read_text

MAX_BYTES = 512 * 1024 * 1024
TRUE_OR_FALSE = ("True", "False")
WITHOUT_GRAPH = "no frontier, no node values, no swap of nodes, no shortcut baseline"
"""What cannot be said of a question of which no graph is known."""
_RESULT = re.compile(r"<<[^<>=]*=([^<>=]*)>>")


@dataclass(frozen=True)
class TextProblem:
    """A question, the steps to its answer, which may be none, and the answer; all as written."""

    question: str
    steps: tuple[str, ...]
    answer: str

    @property
    def results(self) -> tuple[str, ...]:
        """Of steps such as ``<<6*30=180>>`` the results, in order: what a search through numbers passes."""
        return tuple(found for step in self.steps for found in _RESULT.findall(step))

    def to_row(self) -> dict[str, Any]:
        return asdict(self) | {"steps": list(self.steps)}


def load_texts(path: str | Path) -> list[TextProblem]:
    """The problems of a file in any of these forms. Raises InputError naming the file and the row."""
    return read_texts(read_text(path, max_bytes=MAX_BYTES), where=str(path))


def read_texts(text: str, *, where: str = "data") -> list[TextProblem]:
    """The problems in a text of any of these forms. Raises InputError naming ``where``."""
    if text.lstrip()[:1] not in ("[", "{"):
        lines = enumerate(text.splitlines())
        found = [_gsm_line(line, f"{where}, line {i + 1}") for i, line in lines if line.strip()]
    else:
        rows = parse_json(text, where=where)
        if isinstance(rows, dict) and "question" in rows:
            rows = [rows]
        found = list(_prontoqa(rows, where) if isinstance(rows, dict) else _rows(rows, where))
    if not found:
        raise InputError(f"{where}: no problems")
    return found


def read_question(text: str) -> TextProblem:
    """One question: a row or a line of any of these forms, or the question alone, whose steps and answer are not known
    (no steps, an answer that is empty). Raises InputError for a text without one."""
    text = text.strip()
    if not text:
        raise InputError("the question is empty")
    if text[0] in "[{" or "||" in text:
        return read_texts(text, where="question")[0]
    return TextProblem(text, (), "")


def in_words(path: str | Path) -> bool:
    """Whether a file's questions are answered in words, not by a node: no graphs are said, or by ProntoQA's True."""
    text = read_text(path, max_bytes=MAX_BYTES)
    if text.lstrip()[:1] not in ("[", "{"):
        return True
    rows = parse_json(text, where=str(path))
    first = rows[0] if isinstance(rows, list) and rows else rows
    return isinstance(first, Mapping) and bool(rows) and ("edges" not in first or first.get("answer") in TRUE_OR_FALSE)


def _rows(rows: Sequence[Any], where: str) -> Iterator[TextProblem]:
    for i, row in enumerate(rows):
        at = f"{where}, row {i}"
        if not isinstance(row, Mapping):
            raise InputError(f"{at}: expected an object with question, steps and answer, got {type(row).__name__}")
        yield _problem(row.get("question"), row.get("steps", []), row.get("answer"), at)


def _prontoqa(rows: Mapping[str, Any], where: str) -> Iterator[TextProblem]:
    """The chain's sentences two by two, as the public code has them; the query follows the facts."""
    for name, example in rows.items():
        at, test = f"{where}, {name}", example.get("test_example") if isinstance(example, Mapping) else None
        if not isinstance(test, Mapping):
            raise InputError(
                f"{at}: expected a list of rows, or ProntoQA's {{'example1': {{'test_example': ...}}}} by its generator"
            )
        chain = test.get("chain_of_thought")
        if not isinstance(chain, list) or not all(isinstance(sentence, str) for sentence in chain):
            raise InputError(f"{at}: chain_of_thought is no list of sentences")
        steps = [" ".join(chain[i : i + 2]) for i in range(0, len(chain), 2)]
        yield _problem(f"{test.get('question')} {test.get('query')}", steps, test.get("answer"), at)


def _gsm_line(line: str, where: str) -> TextProblem:
    question, bars, rest = line.partition("||")
    chain, mark, answer = rest.rpartition("####")
    if not bars or not mark:
        raise InputError(f"{where}: expected question||<<step>> <<step>> #### answer, got {line!r:.60}")
    return _problem(question.strip(), chain.split(), answer.strip(), where)


def _problem(question: Any, steps: Any, answer: Any, where: str) -> TextProblem:
    if not isinstance(steps, list) or not all(isinstance(step, str) for step in steps):
        raise InputError(f"{where}: steps is no list of texts")
    for name, value in (("question", question), ("answer", answer)):
        if not isinstance(value, str) or not value.strip():
            raise InputError(f"{where}: {name} is no text: {value!r:.60}")
    texts = (question, *steps, answer)
    if any("\ud800" <= letter <= "\udfff" for text in texts if not text.isascii() for letter in text):
        raise GraphError(f"{where}: not valid Unicode: half of a surrogate pair")
    return TextProblem(question, tuple(filter(str.strip, steps)), answer)
