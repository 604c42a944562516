"""What a dense transformer is made of: a Hugging Face config.json, and the share of it that one GPU holds."""

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, PositiveInt, model_validator

from hardware_profiles.library import ProfileError, locate, profile_names, read_fields, validate

BYTES_PER_ELEMENT = 2  # bfloat16 and float16: weights, activations and KV cache

# Settings of a config.json that change sizes or speeds in ways the dense shape below does not cover.
UNCOVERED_SETTINGS = ("quantization_config", "use_sliding_window", "attention_bias", "mlp_bias")


class ModelShape(BaseModel):
    """The fields of a Hugging Face config.json that sizes and speeds depend on; others are not read."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)

    name: str
    model_type: Literal["llama", "qwen2", "qwen3"]
    hidden_size: PositiveInt
    intermediate_size: PositiveInt
    num_hidden_layers: PositiveInt
    num_attention_heads: PositiveInt
    num_key_value_heads: PositiveInt
    head_dim: PositiveInt
    vocab_size: PositiveInt
    max_position_embeddings: PositiveInt
    tie_word_embeddings: bool
    torch_dtype: Literal["bfloat16", "float16"] = Field(validation_alias=AliasChoices("torch_dtype", "dtype"))

    @model_validator(mode="before")
    @classmethod
    def read_config(cls, config: dict[str, Any]) -> dict[str, Any]:
        for setting in UNCOVERED_SETTINGS:
            if config.get(setting):
                raise ValueError(f"{setting} is set, which is not modelled; use a config without it")
        hidden, heads = config.get("hidden_size"), config.get("num_attention_heads")
        if config.get("head_dim") is None and isinstance(hidden, int) and isinstance(heads, int) and heads:
            if hidden % heads:
                raise ValueError(f"head_dim is absent and {heads} heads do not divide hidden_size {hidden}")
            return config | {"head_dim": hidden // heads}  # Hugging Face's rule for a config without it
        return config

    @model_validator(mode="after")
    def query_heads_share_kv_heads(self) -> "ModelShape":
        if self.num_attention_heads % self.num_key_value_heads:
            raise ValueError(
                f"num_key_value_heads {self.num_key_value_heads} must divide num_attention_heads "
                f"{self.num_attention_heads}"
            )
        return self

    @property
    def parameters(self) -> int:
        """Number of weights, embeddings included."""
        return self.shard(1).parameters

    @property
    def linear_flops_per_token(self) -> int:
        """Floating-point operations of the layers' matrices for one token; embedding and LM head excluded."""
        return 2 * self.num_hidden_layers * sum(n * k for n, k in self.shard(1).layer_gemms)

    @property
    def attention_flops_per_pair(self) -> int:
        """Floating-point operations for one (query token, context token) pair, all layers: QK^T and PV."""
        return 4 * self.head_dim * self.num_attention_heads * self.num_hidden_layers

    def shard(self, tp: int) -> "ModelShard":
        """One GPU's share under tensor parallelism `tp`; `ProfileError` when it does not divide the model."""
        if tp < 1:
            raise ProfileError(f"{self.name}: tensor parallelism must be at least 1, found {tp}")
        for what, size in (
            ("num_attention_heads", self.num_attention_heads),
            ("intermediate_size", self.intermediate_size),
        ):
            if size % tp:
                raise ProfileError(f"{self.name}: tensor parallelism {tp} does not divide {what} {size}")
        kv_heads = self.num_key_value_heads
        if max(kv_heads, tp) % min(kv_heads, tp):
            raise ProfileError(
                f"{self.name}: tensor parallelism {tp} can neither split nor replicate "
                f"num_key_value_heads {kv_heads} evenly"
            )
        return ModelShard(
            shape=self,
            tp=tp,
            attention_heads=self.num_attention_heads // tp,
            kv_heads=max(1, kv_heads // tp),
            intermediate_size=self.intermediate_size // tp,
            vocab_size=-(-self.vocab_size // tp),
        )


@dataclass(frozen=True)
class ModelShard:
    """What one GPU of a tensor-parallel group holds.

    Megatron's split: heads, intermediate size and vocabulary are divided, norms are replicated, and KV
    heads are replicated when there are fewer than GPUs.
    """

    shape: ModelShape
    tp: int
    attention_heads: int
    kv_heads: int
    intermediate_size: int
    vocab_size: int

    @property
    def layer_gemms(self) -> tuple[tuple[int, int], ...]:
        """(n, k) of a layer's four matrices: QKV fused, output, gate and up fused, down; m is the tokens."""
        hidden, head_dim = self.shape.hidden_size, self.shape.head_dim
        return (
            ((self.attention_heads + 2 * self.kv_heads) * head_dim, hidden),
            (hidden, self.attention_heads * head_dim),
            (2 * self.intermediate_size, hidden),
            (hidden, self.intermediate_size),
        )

    @property
    def parameters(self) -> int:
        """Number of weights on this GPU."""
        shape = self.shape
        layer = sum(n * k for n, k in self.layer_gemms) + 2 * shape.hidden_size  # two norms
        if shape.model_type == "qwen2":
            layer += self.layer_gemms[0][0]  # biases of Q, K and V
        if shape.model_type == "qwen3":
            layer += 2 * shape.head_dim  # norms of Q and K
        embeddings = (1 if shape.tie_word_embeddings else 2) * self.vocab_size * shape.hidden_size
        return shape.num_hidden_layers * layer + embeddings + shape.hidden_size  # the last norm

    @property
    def weight_bytes(self) -> int:
        """Bytes of weights on this GPU."""
        return self.parameters * BYTES_PER_ELEMENT

    @property
    def kv_bytes_per_token(self) -> int:
        """Bytes of KV cache that one token takes on this GPU, all layers."""
        return 2 * self.shape.num_hidden_layers * self.kv_heads * self.shape.head_dim * BYTES_PER_ELEMENT


def model_names() -> list[str]:
    """The names that `load_model` knows."""
    return profile_names("models")


def load_model(name_or_path: str) -> ModelShape:
    """The model called `name_or_path` (any letter case), or the one in the config.json at that path.

    Raises `ProfileError` for an unknown name, a malformed file or a model that is not a dense transformer
    covered here.
    """
    path = locate("model", "models", name_or_path)
    name = path.parent.resolve().name if path.name == "config.json" else path.stem
    return validate(path, ModelShape, read_fields(path) | {"name": name})
