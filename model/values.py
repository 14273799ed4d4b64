"""Frozen plain data: what is saved, linked or drawn. One way to read it back, one sentence where it cannot be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from model.errors import InputError
from model.files import read_text, write_text

Number = Annotated[float, Field(allow_inf_nan=False)]

Progress = Callable[[str, int, int], None]
"""Told (what is being done, how much of it is done, of how much): the one shape for the CLI, the app and tests."""
Cancelled = Callable[[], bool]

Wanted = Literal["auto", "float32", "bfloat16"]
"""What passes without gradients are to multiply in (``model.precision``); ``auto``: whatever is better here."""


def silent(what: str, done: int, total: int) -> None:
    """A ``Progress`` that nobody watches."""


class Value(BaseModel):
    """Frozen plain data that survives JSON exactly; unknown fields, NaN and infinities are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    called: ClassVar[str] = "a value of this kind"
    """What a file of it is called in messages: ``not <called> (place: what is wrong)``."""
    renamed: ClassVar[Mapping[str, str]] = {}
    """Old JSON key to field, for what an older version saved."""

    @model_validator(mode="before")
    @classmethod
    def _from_old_keys(cls, values: Any) -> Any:
        if not cls.renamed or not isinstance(values, dict):
            return values
        return {cls.renamed.get(key, key): value for key, value in values.items()}

    def to_json(self) -> str:
        return self.model_dump_json(indent=1) + "\n"

    def save(self, path: str | Path) -> None:
        """Write it as JSON, whole or not at all."""
        write_text(path, self.to_json())

    @classmethod
    def parse(cls, text: str, *, where: str) -> Self:
        """From JSON. Raises InputError: ``where: not <called> (place: what is wrong)``."""
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise InputError(f"{where}: not {cls.called} ({first_fault(error)})") from None

    @classmethod
    def load(cls, path: str | Path, *, max_bytes: int | None = None) -> Self:
        """From a JSON file. Raises InputError as ``parse`` and ``files.read_text`` do."""
        return cls.parse(read_text(path, max_bytes=max_bytes), where=str(path))


def validated(kind: Any, value: Any, *, where: str) -> Any:
    """``value`` as ``kind`` (a type or a pydantic adapter). Raises InputError: ``where: place: what is wrong``."""
    try:
        return (kind if isinstance(kind, TypeAdapter) else TypeAdapter(kind)).validate_python(value)
    except ValidationError as error:
        raise InputError(f"{where}: {first_fault(error)}") from None


def first_fault(error: ValidationError) -> str:
    """The first thing wrong, with its place: ``place: what is wrong``."""
    first = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"]) or "the whole"
    return f"{place}: {first['msg'].removeprefix('Value error, ')}"
