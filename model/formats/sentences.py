"""ProsQA English: ``Tom is a terpus. Every terpus is a lempus. Is Tom a lempus or scrompus?``

A plural is its singular where the text has that too: beside ``Tom is a cat.``, ``Cats are animals.`` is of *cat*. Where
it has not, it is a word as it stands: ``Cats are animals. Are cats animals or pets?`` is of *Cats*, *animals*, *pets*.
A capital at the beginning of a sentence is none of the name's where the name is met with a small letter too.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator

from model.errors import InputError
from model.formats.builder import Builder

_IS_A = re.compile(r"(?<=[^ ]) is an? ", re.I)
_SENTENCE = re.compile(r"(?<=[^ ]) is an?( |$)|^every .* is\b", re.I)
_ARE = " are "
_SEPARATOR = re.compile(r'->|→|\t|"')


def read(text: str, where: str) -> Builder:
    builder = Builder(where)
    asked: list[tuple[int, str]] = []
    facts: list[tuple[str, str, int, bool]] = []
    for line, sentence in _sentences(text):
        if is_question(sentence):
            asked.append((line, sentence))
            continue
        fact = _fact(sentence)
        if fact is None:
            raise InputError(
                f"{where}, line {line}: expected 'Tom is a terpus.', 'Every terpus is a lempus.', 'Cats are animals.' "
                f"or 'Is Tom a lempus or scrompus?', got {sentence!r:.80}"
            )
        facts.append((*fact, line, _IS_A.search(sentence) is None))
    names = {name for fact in facts for name in fact[:2]}
    single = {name for *pair, _, plural in facts if not plural for name in pair}
    single |= {word for _, sentence in asked for word in re.findall(r"\w+", sentence)}
    for source, target, line, plural in facts:
        if plural:
            source, target = _singular(source, single) or _small(source, names), _singular(target, single) or target
        builder.edge(source, target, f"line {line}")
    return with_question(builder, asked)


def _small(name: str, names: Container[str]) -> str:
    """Plural at the beginning of a sentence: with a small letter, where another sentence has it so."""
    small = name[:1].lower() + name[1:]
    return small if small in names else name


def _singular(name: str, names: Container[str]) -> str:
    """The one of these names that it is the plural of, with a small letter before a capital; empty for none."""
    forms = [name.removesuffix("s")] * name.endswith("s") + [name.removesuffix("es")] * name.endswith("es")
    forms += [name.removesuffix("ies") + "y"] * name.endswith("ies")
    both = [one for form in forms for one in (form[:1].lower() + form[1:], form)]
    return next((one for one in both if one in names), "")


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
    parts, every = _IS_A.split(sentence), "every "
    if len(parts) == 1:
        parts, every = sentence.split(_ARE), "all "
    if len(parts) != 2:
        return None
    source, target = (part.strip() for part in parts)
    if source[: len(every)].casefold() == every:
        source = source[len(every) :].strip()
    return (source, target) if source and target else None


def looks_like_sentence(line: str) -> bool:
    """Whether a line of a text of unknown format reads as a fact."""
    if _SEPARATOR.search(line):
        return False
    flat = " ".join(line.split())
    return bool(_SENTENCE.search(flat)) or (_ARE in flat.partition(" #")[0] and "," not in flat)


def is_question(sentence: str) -> bool:
    return sentence.casefold().startswith(("is ", "are ")) and " or " in sentence.casefold()


def with_question(builder: Builder, asked: list[tuple[int, str]]) -> Builder:
    if not asked:
        return builder
    if len(asked) > 1:
        raise InputError(f"{builder.where}, line {asked[1][0]}: a second question; one is accepted")
    line, sentence = asked[0]
    if len(sentence) > 1000:
        raise InputError(f"{builder.where}, line {line}: a question of {len(sentence):,} characters; at most 1,000")
    body = sentence.partition(" ")[2].rstrip("?").strip()
    readings = _of_plurals(body, builder.number) if sentence[:4].casefold() == "are " else _of_one(body)
    if not readings:
        raise InputError(f"{builder.where}, line {line}: expected 'Is Tom a lempus or scrompus?', got {sentence!r:.80}")
    # Names may hold " a " or " or " themselves, so the reading that names known nodes wins.
    read = max(readings, key=lambda names: sum(name in builder.number for name in names))
    known = builder.number
    root, first, second = (name if name in known else _singular(name, known) or name for name in read)
    return builder.asking(root, (first, second), place=f", line {line}")


def _of_one(body: str) -> list[tuple[str, str, str]]:
    """Root and candidates of ``Tom a lempus or scrompus``, in every way that it can be read."""
    return [
        (body[: article.start()].strip(), body[article.end() : either.start()].strip(), body[either.end() :].strip())
        for article in re.finditer(r" an? ", body, re.I)
        for either in re.finditer(r" or (an? )?", body, re.I)
        if article.end() <= either.start()
    ]


def _of_plurals(body: str, names: Container[str]) -> list[tuple[str, str, str]]:
    """The same of ``cats animals or pets``; a root whose name begins with a capital may have lost it."""
    left, _, second = body.rpartition(" or ")
    words = left.split()
    readings = []
    for i in range(1, len(words)):
        root, first = " ".join(words[:i]), " ".join(words[i:])
        large = root[:1].upper() + root[1:]
        readings.append((large if root not in names and large in names else root, first, second.strip()))
    return readings
