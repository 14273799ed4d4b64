"""What a stranger's config.json may say: known keys, typed and bounded, before anything is built from them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from model.errors import CheckpointError
from model.values import first_fault

MAX_PARAMETERS = 2_000_000_000
"""GPT-2 XL has 1.6 billion."""
MAX_THOUGHTS = 64

Count = Annotated[int, Field(ge=0, le=100_000)]
Token = Annotated[int, Field(ge=0, le=1_000_000)] | None
Share = Annotated[float, Field(ge=0, lt=1)]
Width = Annotated[int, Field(ge=1, le=8192)]
Heads = Annotated[int, Field(ge=1, le=256)]
Activation = Literal["gelu_new", "gelu", "gelu_fast", "gelu_pytorch_tanh", "relu", "silu", "tanh", "quick_gelu"]


class ConfigFile(BaseModel):
    """The keys of ``CoconutConfig`` that are read; every other key is left aside, so none can choose code or a hub."""

    model_config = ConfigDict(strict=True, extra="ignore")

    # The architecture
    vocab_size: Annotated[int, Field(ge=1, le=1_000_000)]
    n_positions: Annotated[int, Field(ge=1, le=65_536)]
    n_embd: Width
    n_layer: Annotated[int, Field(ge=1, le=128)]
    n_head: Heads
    n_inner: Annotated[int, Field(ge=1, le=65_536)] | None = None
    activation_function: Activation = "gelu_new"
    layer_norm_epsilon: Annotated[float, Field(gt=0, le=1)] = 1e-5
    initializer_range: Annotated[float, Field(gt=0, le=10)] = 0.02
    resid_pdrop: Share = 0.1
    embd_pdrop: Share = 0.1
    attn_pdrop: Share = 0.1
    scale_attn_weights: bool = True
    scale_attn_by_inverse_layer_idx: bool = False
    dtype: Literal["float32", "float16", "bfloat16"] | None = None
    bos_token_id: Token = None
    eos_token_id: Token = None
    pad_token_id: Token = None

    # How thoughts were trained, as CoconutConfig says
    codec: Annotated[str, Field(max_length=40)] = "slots-40"
    codec_format: dict[str, Any] | None = None
    method: Annotated[str, Field(max_length=40)] = "coconut"
    c_thought: Annotated[int, Field(ge=1, le=MAX_THOUGHTS)] = 1
    max_latent_stage: Annotated[int, Field(ge=0, le=MAX_THOUGHTS)] = 6
    trained_stage: Annotated[int, Field(ge=0, le=MAX_THOUGHTS)] = 6
    uniform_prob: Annotated[float, Field(ge=0, le=1)] | None = 0.0
    feed: Annotated[str, Field(max_length=40)] = "state"
    feed_map: Annotated[str, Field(max_length=40)] = "identity"
    feed_width: Annotated[int, Field(ge=0, le=65_536)] = 0
    feed_norm: bool = True
    single_pass: bool = False
    mimetic_start: bool = False
    thoughts_by: Annotated[str, Field(max_length=40)] = "stage"
    task: Annotated[str, Field(max_length=40)] = "prosqa"
    imported: Annotated[str, Field(max_length=80)] | None = None
    trained_nodes: tuple[Count, Count, Count] | None = None
    trained_edges: tuple[Count, Count, Count] | None = None
    trained_hops: tuple[Count, Count] | None = None

    @model_validator(mode="after")
    def _check(self) -> ConfigFile:
        if self.n_embd % self.n_head:
            raise ValueError(f"n_embd {self.n_embd} is not a multiple of n_head {self.n_head}")
        if self.c_thought * self.trained_stage > MAX_THOUGHTS:
            raise ValueError(f"{self.c_thought * self.trained_stage} thoughts; at most {MAX_THOUGHTS} are accepted")
        inner = self.n_inner or 4 * self.n_embd
        block = self.n_embd * (4 * self.n_embd + 2 * inner)
        rows = self.vocab_size + self.n_positions
        if (n := self.n_layer * block + rows * self.n_embd + 2 * self.feed_width * self.n_embd) > MAX_PARAMETERS:
            raise ValueError(f"{n:,} parameters; at most {MAX_PARAMETERS:,} are accepted")
        return self


class Beside(BaseModel):
    """What is read of the config.json that lies beside weights of another code, since weights do not say it."""

    model_config = ConfigDict(strict=True, extra="ignore")

    n_head: Heads | None = None
    activation_function: Activation = "gelu_new"


def check_config(values: dict[str, Any], *, where: str) -> None:
    """Raises CheckpointError, naming the key and what is accepted, for a config that could not be read again."""
    try:
        ConfigFile.model_validate(values)
    except ValidationError as error:
        raise CheckpointError(f"{where}: {first_fault(error)}") from None


def read_config(text: str, *, where: str) -> dict[str, Any]:
    """The known keys of a config.json. Raises CheckpointError naming the key and what is accepted."""
    try:
        found = ConfigFile.model_validate_json(text)
    except ValidationError as error:
        raise CheckpointError(f"{where}: {first_fault(error)}") from None
    given = found.model_dump(exclude_unset=True)
    return {name: list(value) if isinstance(value, tuple) else value for name, value in given.items()}
