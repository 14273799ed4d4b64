"""A few seconds of ``make fuzz``, and that it would see what does not survive."""

from __future__ import annotations

import random
from pathlib import Path

import fuzz
import pytest

from model.errors import InputError


@pytest.mark.parametrize("kind", fuzz.KINDS)
def test_what_strangers_send_by_chance_is_survived(kind: str) -> None:
    (tally,) = fuzz.fuzz(2, 2026, {kind: None}).values()
    assert tally.faults == {}
    assert tally.survived == tally.tried > 0
    assert kind in fuzz.SLOW or 0 < tally.refused < tally.tried, "some are read, some are not"


def test_what_is_not_survived_is_counted_and_can_be_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def sometimes(rng: random.Random, place: Path) -> fuzz.Try:
        fault = KeyError("nodes") if rng.random() < 0.5 else InputError("a sentence")

        def fail() -> None:
            raise fault

        return fail

    monkeypatch.setitem(fuzz.KINDS, "links", sometimes)
    tally = fuzz.fuzz(1, 7, {"links": None})["links"]
    assert 0 < tally.survived < tally.tried
    assert tally.survived + len(tally.faults) == tally.tried
    with pytest.raises(KeyError):
        fuzz.one("links", next(iter(tally.faults)), 7)
    assert tally.refused == tally.survived


def test_what_goes_wrong_before_anything_is_tried_is_no_survival(monkeypatch: pytest.MonkeyPatch) -> None:
    def unready(rng: random.Random, place: Path) -> fuzz.Try:
        raise InputError("a mistake of the fuzzer's own")

    monkeypatch.setitem(fuzz.KINDS, "links", unready)
    assert fuzz.fuzz(0.1, 7, {"links": None})["links"].survived == 0
