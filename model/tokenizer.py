"""GPT-2's tokenizer, made offline from its list of merges; whole, or with only the tokens that some texts need."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from model.files import write_json, write_text

MERGES = Path(__file__).parent / "vocabulary" / "gpt2.bpe"
END_OF_TEXT = "<|endoftext|>"


@lru_cache(maxsize=1)
def gpt2_pieces() -> tuple[dict[str, int], tuple[tuple[str, str], ...]]:
    """GPT-2's tokens and their ids, and its merges in order.

    The ids follow from the merges: first the bytes, those that print first, then a token for every merge, then the
    end of a text.
    """
    printed = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [byte for byte in range(256) if byte not in printed]
    bytes_first = [*map(chr, printed), *(chr(256 + i) for i in range(len(rest)))]
    lines = MERGES.read_text(encoding="utf-8").split("\n")[1:-1]
    merges = tuple((left, right) for left, right in (line.split(" ") for line in lines))
    pieces = [*bytes_first, *(left + right for left, right in merges), END_OF_TEXT]
    return {piece: i for i, piece in enumerate(pieces)}, merges


@dataclass(frozen=True)
class Vocabulary:
    """GPT-2's tokens, ids 0..50256, and ``added`` after them; or, in the same order, those alone that ``texts`` need.

    ``texts``: tokens that some of these texts are made of, merges on the way included, so these and what is made of
    their words are cut as GPT-2 cuts them; empty for all tokens.
    """

    added: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        return self.tokenizer.get_vocab_size()

    @property
    def end(self) -> int:
        """The token that ends a text."""
        return self.ids(END_OF_TEXT)[0]

    def ids(self, text: str) -> tuple[int, ...]:
        return _ids(self, text)

    def text(self, ids: Sequence[int]) -> str:
        """What tokens say, those of ``added`` too; ids beyond the vocabulary (rows that no token has) say nothing."""
        return str(self.tokenizer.decode([i for i in ids if i < self.size], skip_special_tokens=False))

    def word(self, token: int) -> str:
        """What one token says; ``row 50300`` for a row that no token has."""
        return self.text([token]) or f"row {token}"

    def writes(self, text: str) -> bool:
        """Whether its tokens say exactly this text."""
        return _writes(self, text)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        return _tokenizer(self.added, self.texts)

    def save(self, folder: Path) -> None:
        """Write tokenizer.json and tokenizer_config.json, which transformers' AutoTokenizer reads."""
        marks = dict.fromkeys(("bos_token", "eos_token", "pad_token"), END_OF_TEXT)
        write_text(folder / "tokenizer.json", self.tokenizer.to_str())
        write_json(folder / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", **marks})


@lru_cache(maxsize=16)
def _tokenizer(added: tuple[str, ...], texts: tuple[str, ...]) -> Tokenizer:
    vocabulary, merges = gpt2_pieces()
    if texts:
        whole = _tokenizer((), ())
        used = {piece for text in texts for piece in whole.encode(text).tokens}
        made_of = {left + right: (left, right) for left, right in merges}
        waiting = list(used)
        while waiting:
            for part in made_of.get(waiting.pop(), ()):
                if part not in used:
                    used.add(part)
                    waiting.append(part)
        kept = [piece for piece in vocabulary if piece in used or piece == END_OF_TEXT]
        merges = tuple(merge for merge in merges if "".join(merge) in used)
        vocabulary = {piece: i for i, piece in enumerate(kept)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=list(merges)))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(END_OF_TEXT, normalized=False, special=True)])
    # Ordinary tokens, as in the public code: they stay in decoded text.
    tokenizer.add_tokens([AddedToken(name, normalized=False, special=False) for name in added])
    return tokenizer


@lru_cache(maxsize=100_000)
def _ids(vocabulary: Vocabulary, text: str) -> tuple[int, ...]:
    return tuple(vocabulary.tokenizer.encode(text, add_special_tokens=False).ids)


@lru_cache(maxsize=100_000)
def _writes(vocabulary: Vocabulary, text: str) -> bool:
    return vocabulary.text(vocabulary.ids(text)) == text
