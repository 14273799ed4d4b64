"""ProsQA English: ``Tom is a terpus. Every terpus is a lempus. Is Tom a lempus or scrompus?``"""

from __future__ import annotations

import re
from collections.abc import Iterator

from model.errors import InputError
from model.formats.builder import Builder

_IS_A = re.compile(r"(?<=[^ ]) is an? ", re.I)
_SENTENCE = re.compile(r"(?<=[^ ]) is an?( |$)|^every .* is\b", re.I)
_SEPARATOR = re.compile(r'->|→|\t|"')


def read(text: str, where: str) -> Builder:
    builder = Builder(where)
    asked: list[tuple[int, str]] = []
    for line, sentence in _sentences(text):
        if is_question(sentence):
            asked.append((line, sentence))
            continue
        fact = _fact(sentence)
        if fact is None:
            raise InputError(
                f"{where}, line {line}: expected 'Tom is a terpus.', 'Every terpus is a lempus.' or "
                f"'Is Tom a lempus or scrompus?', got {sentence!r:.80}"
            )
        builder.edge(*fact, f"line {line}")
    return with_question(builder, asked)


def _sentences(text: str) -> Iterator[tuple[int, str]]:
    """Sentences with the line each starts on. A line break ends a sentence only where both sides make sense."""
    line = 1
    for chunk in re.split(r"(?<=[.?!])(?=\s)", text):
        lines = [(i, " ".join(part.split()).rstrip(".!")) for i, part in enumerate(chunk.split("\n"), start=line)]
        lines = [(i, part) for i, part in lines if part and not part.startswith("#")]
        line += chunk.count("\n")
        whole = " ".join(part for _, part in lines)
        if len(lines) > 1 and not all(is_question(part) or _fact(part) for _, part in lines) and _fact(whole):
            lines = [(lines[0][0], whole)]
        yield from lines


def _fact(sentence: str) -> tuple[str, str] | None:
    parts = _IS_A.split(sentence)
    if len(parts) != 2:
        return None
    source, target = (part.strip() for part in parts)
    if source[:6].casefold() == "every ":
        source = source[6:].strip()
    return (source, target) if source and target else None


def looks_like_sentence(line: str) -> bool:
    """Whether a line of a text of unknown format reads as a fact."""
    return bool(_SENTENCE.search(" ".join(line.split()))) and not _SEPARATOR.search(line)


def is_question(sentence: str) -> bool:
    return sentence[:3].casefold() == "is " and " or " in sentence.casefold()


def with_question(builder: Builder, asked: list[tuple[int, str]]) -> Builder:
    if not asked:
        return builder
    if len(asked) > 1:
        raise InputError(f"{builder.where}, line {asked[1][0]}: a second question; one is accepted")
    line, sentence = asked[0]
    if len(sentence) > 1000:
        raise InputError(f"{builder.where}, line {line}: a question of {len(sentence):,} characters; at most 1,000")
    body = sentence[3:].rstrip("?").strip()
    readings = [
        (body[: article.start()].strip(), body[article.end() : either.start()].strip(), body[either.end() :].strip())
        for article in re.finditer(r" an? ", body, re.I)
        for either in re.finditer(r" or (an? )?", body, re.I)
        if article.end() <= either.start()
    ]
    if not readings:
        raise InputError(f"{builder.where}, line {line}: expected 'Is Tom a lempus or scrompus?', got {sentence!r:.80}")
    # Names may hold " a " or " or " themselves, so the reading that names known nodes wins.
    root, first, second = max(readings, key=lambda names: sum(name in builder.number for name in names))
    return builder.asking(root, (first, second), place=f", line {line}")
