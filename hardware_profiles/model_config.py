"""Reading a Hugging Face config.json: one class a family of models, each with the fields that sizes depend on."""

from abc import ABC, abstractmethod
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, model_validator

from hardware_profiles.attention import Attention, GroupedQueryAttention, LatentAttention
from hardware_profiles.library import ProfileError, locate, near_miss, profile_names, read_fields, validate
from hardware_profiles.mlp import DenseMlp, Mlp, MoeMlp
from hardware_profiles.model import Layer, ModelShape
from hardware_profiles.precision import PRECISIONS, Precision

LAYER_TYPES = Literal["full_attention", "sliding_attention"]
FP8_BLOCK = [128, 128]
INT4_BITS, INT4_GROUP = 4, 128


class Config(BaseModel, ABC):
    """What every family has; fields that nothing depends on are not read."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)

    hidden_size: PositiveInt
    num_hidden_layers: PositiveInt
    num_attention_heads: PositiveInt
    vocab_size: PositiveInt
    max_position_embeddings: PositiveInt
    tie_word_embeddings: bool
    torch_dtype: Literal["bfloat16", "float16"] = Field(validation_alias=AliasChoices("torch_dtype", "dtype"))
    quantization_config: dict[str, Any] | None = None

    @model_validator(mode="after")
    def is_consistent(self) -> "Config":
        _precision(self.quantization_config)
        self.attention()
        for layer in range(self.num_hidden_layers):
            self.window(layer)
            self.mlp(layer)
        return self

    def shape(self, name: str) -> ModelShape:
        """The model's shape under the name `name`."""
        return ModelShape(
            name=name,
            hidden_size=self.hidden_size,
            vocab_size=self.vocab_size,
            max_position_embeddings=self.max_position_embeddings,
            tie_word_embeddings=self.tie_word_embeddings,
            attention=self.attention(),
            layers=tuple(Layer(self.window(layer), self.mlp(layer)) for layer in range(self.num_hidden_layers)),
            precision=_precision(self.quantization_config),
            norms=self.norms(),
        )

    @abstractmethod
    def attention(self) -> Attention:
        """The attention of every layer. Raises ValueError for fields at odds."""

    @abstractmethod
    def mlp(self, layer: int) -> Mlp:
        """The MLP of layer `layer`, counted from 0."""

    def window(self, layer: int) -> int | None:
        """The attention window of layer `layer` in tokens, None for all tokens."""
        return None

    def norms(self) -> int:
        """Norms of the hidden state in a layer."""
        return 2


class GroupedQueryConfig(Config):
    """A family with grouped-query attention and a dense MLP."""

    num_key_value_heads: PositiveInt
    head_dim: PositiveInt | None = None
    intermediate_size: PositiveInt
    attention_bias: bool = False

    def attention(self) -> GroupedQueryAttention:
        heads, kv_heads = self.num_attention_heads, self.num_key_value_heads
        if heads % kv_heads:
            raise ValueError(f"num_key_value_heads {kv_heads} must divide num_attention_heads {heads}")
        if self.head_dim is None and self.hidden_size % heads:
            raise ValueError(f"head_dim is absent and {heads} heads do not divide hidden_size {self.hidden_size}")
        head_dim = self.head_dim or self.hidden_size // heads  # Hugging Face's rule for a config without it
        return GroupedQueryAttention(heads, kv_heads, head_dim, self.attention_bias, self.attention_bias)

    def mlp(self, layer: int) -> Mlp:
        return DenseMlp(self.intermediate_size)


class LlamaConfig(GroupedQueryConfig):
    mlp_bias: bool = False

    def mlp(self, layer: int) -> Mlp:
        return DenseMlp(self.intermediate_size, self.mlp_bias)


class MistralConfig(GroupedQueryConfig):
    """All layers have the window, or none."""

    sliding_window: PositiveInt | None = None

    def window(self, layer: int) -> int | None:
        return self.sliding_window


class MixtralConfig(MistralConfig):
    num_local_experts: PositiveInt
    num_experts_per_tok: PositiveInt

    def mlp(self, layer: int) -> Mlp:
        return _experts(self.num_local_experts, self.num_experts_per_tok, self.intermediate_size)


class WindowedConfig(GroupedQueryConfig):
    """A family of which some layers have a window: `layer_types` tells which, else the family's own rule."""

    layer_types: list[LAYER_TYPES] | None = None
    sliding_window: PositiveInt | None = None

    def window(self, layer: int) -> int | None:
        if self.layer_types is None:
            sliding = self.slides(layer)
        elif len(self.layer_types) == self.num_hidden_layers:
            sliding = self.layer_types[layer] == "sliding_attention"
        else:
            raise ValueError(f"layer_types: expected {self.num_hidden_layers} entries, found {len(self.layer_types)}")
        if sliding and self.sliding_window is None:
            raise ValueError(f"sliding_window is absent, but layer {layer} has one")
        return self.sliding_window if sliding else None

    @abstractmethod
    def slides(self, layer: int) -> bool:
        """Whether layer `layer` has a window where `layer_types` does not say."""


class QwenConfig(WindowedConfig):
    """With `use_sliding_window` the layers from `max_window_layers` on have the window."""

    use_sliding_window: bool = False
    max_window_layers: NonNegativeInt = 28

    def slides(self, layer: int) -> bool:
        return self.use_sliding_window and layer >= self.max_window_layers


class Qwen2Config(QwenConfig):
    """Q, K and V have biases, the output has none."""

    def attention(self) -> GroupedQueryAttention:
        return replace(super().attention(), qkv_bias=True, output_bias=False)


class Qwen3Config(QwenConfig):
    """Q and K are normed."""

    def attention(self) -> GroupedQueryAttention:
        return replace(super().attention(), qk_norm=True)


class QwenMoe(BaseModel):
    """Where Qwen's mixtures of experts have experts: every `decoder_sparse_step`th layer, `mlp_only_layers` apart."""

    num_experts: PositiveInt
    num_experts_per_tok: PositiveInt
    moe_intermediate_size: PositiveInt
    decoder_sparse_step: PositiveInt = 1
    mlp_only_layers: list[NonNegativeInt] = []

    def has_experts(self, layer: int) -> bool:
        """Whether layer `layer` has experts."""
        return layer not in self.mlp_only_layers and (layer + 1) % self.decoder_sparse_step == 0


class Qwen2MoeConfig(Qwen2Config, QwenMoe):
    shared_expert_intermediate_size: PositiveInt

    def mlp(self, layer: int) -> Mlp:
        if not self.has_experts(layer):
            return DenseMlp(self.intermediate_size)
        shared = self.shared_expert_intermediate_size
        return _experts(
            self.num_experts, self.num_experts_per_tok, self.moe_intermediate_size, shared, shared_gate=True
        )


class Qwen3MoeConfig(Qwen3Config, QwenMoe):
    def mlp(self, layer: int) -> Mlp:
        if not self.has_experts(layer):
            return DenseMlp(self.intermediate_size)
        return _experts(self.num_experts, self.num_experts_per_tok, self.moe_intermediate_size)


class Gemma2Config(WindowedConfig):
    """Every other layer from the first has the window; attention and MLP are normed before and after."""

    tie_word_embeddings: bool = True  # the library's default, which Gemma's config.json leaves out

    def slides(self, layer: int) -> bool:
        return layer % 2 == 0

    def norms(self) -> int:
        return 4


class Gemma3Config(Gemma2Config):
    """All but every `sliding_window_pattern`th layer have the window; Q and K are normed."""

    sliding_window_pattern: PositiveInt = 6

    def attention(self) -> GroupedQueryAttention:
        return replace(super().attention(), qk_norm=True)

    def slides(self, layer: int) -> bool:
        return (layer + 1) % self.sliding_window_pattern != 0


class GptOssConfig(WindowedConfig):
    """Every other layer from the first has the window; all matrices have biases, heads have sinks."""

    num_local_experts: PositiveInt
    num_experts_per_tok: PositiveInt

    def attention(self) -> GroupedQueryAttention:
        return replace(super().attention(), sinks=True)

    def mlp(self, layer: int) -> Mlp:
        return _experts(
            self.num_local_experts,
            self.num_experts_per_tok,
            self.intermediate_size,
            router_bias=True,
            expert_bias=True,
        )

    def slides(self, layer: int) -> bool:
        return layer % 2 == 0


class DeepseekConfig(Config):
    """Latent attention. From layer `first_k_dense_replace` on, every `moe_layer_freq`th layer has experts.

    The module for multi-token prediction (`num_nextn_predict_layers`) is not part of the model proper.
    """

    q_lora_rank: PositiveInt | None
    kv_lora_rank: PositiveInt
    qk_nope_head_dim: PositiveInt
    qk_rope_head_dim: PositiveInt
    v_head_dim: PositiveInt
    attention_bias: Literal[False] = False
    intermediate_size: PositiveInt
    n_routed_experts: PositiveInt
    num_experts_per_tok: PositiveInt
    moe_intermediate_size: PositiveInt
    n_shared_experts: NonNegativeInt | None = None
    first_k_dense_replace: NonNegativeInt
    moe_layer_freq: PositiveInt = 1
    topk_method: str = "greedy"

    def attention(self) -> LatentAttention:
        return LatentAttention(
            self.num_attention_heads,
            self.q_lora_rank,
            self.kv_lora_rank,
            self.qk_nope_head_dim,
            self.qk_rope_head_dim,
            self.v_head_dim,
        )

    def mlp(self, layer: int) -> Mlp:
        if layer < self.first_k_dense_replace or layer % self.moe_layer_freq:
            return DenseMlp(self.intermediate_size)
        return _experts(
            self.n_routed_experts,
            self.num_experts_per_tok,
            self.moe_intermediate_size,
            (self.n_shared_experts or 0) * self.moe_intermediate_size,
            router_bias=self.topk_method == "noaux_tc",  # V3's load balancing without an auxiliary loss
        )


class DeepseekV3Config(DeepseekConfig):
    topk_method: str = "noaux_tc"


FAMILIES: dict[str, type[Config]] = {
    "llama": LlamaConfig,
    "mistral": MistralConfig,
    "mixtral": MixtralConfig,
    "qwen2": Qwen2Config,
    "qwen2_moe": Qwen2MoeConfig,
    "qwen3": Qwen3Config,
    "qwen3_moe": Qwen3MoeConfig,
    "gemma2": Gemma2Config,
    "gemma3_text": Gemma3Config,
    "gpt_oss": GptOssConfig,
    "deepseek_v2": DeepseekConfig,
    "deepseek_v3": DeepseekV3Config,
}


def model_names() -> list[str]:
    """The names that `load_model` knows."""
    return profile_names("models")


def load_model(name_or_path: str) -> ModelShape:
    """The model called `name_or_path` (any letter case), or the one in the config.json at that path.

    Raises `ProfileError` for an unknown name, a malformed file or a model whose shape is not covered.
    """
    path = locate("model", "models", name_or_path)
    name = path.parent.resolve().name if path.name == "config.json" else path.stem
    return read_model(path, name, read_fields(path))


def read_model(path: Path, name: str, fields: dict[str, Any]) -> ModelShape:
    """The model that the fields of the config.json at `path` describe. Raises `ProfileError` as `load_model` does."""
    model_type = str(fields.get("model_type"))
    if model_type not in FAMILIES:
        hint = near_miss(model_type, FAMILIES)
        raise ProfileError(f"{path}: model_type {model_type!r} is not covered{hint} (covered: {', '.join(FAMILIES)})")
    return validate(path, FAMILIES[model_type], fields).shape(name)


def _experts(experts: int, top_k: int, intermediate_size: int, shared_size: int = 0, **extras: bool) -> MoeMlp:
    if top_k > experts:
        raise ValueError(f"num_experts_per_tok {top_k} exceeds the {experts} experts")
    return MoeMlp(experts, top_k, intermediate_size, shared_size, **extras)


def _precision(quantization: dict[str, Any] | None) -> Precision:
    """The precision that a config's `quantization_config` stands for."""
    if quantization is None:
        return PRECISIONS["bf16"]
    method = quantization.get("quant_method")
    if method == "fp8":
        block = quantization.get("weight_block_size")
        if block in (None, FP8_BLOCK):
            return PRECISIONS["fp8" if block is None else "fp8-block"]
        raise ValueError(f"quantization_config.weight_block_size: expected {FP8_BLOCK} or none, found {block}")
    if method not in ("awq", "gptq"):
        raise ValueError(
            f"quantization_config.quant_method: expected 'fp8', 'awq' or 'gptq', found {method!r}; give the model "
            "without quantization_config and choose a precision"
        )
    bits, group = quantization.get("bits"), quantization.get("group_size")
    if (bits, group) != (INT4_BITS, INT4_GROUP):
        raise ValueError(
            f"quantization_config: expected {INT4_BITS} bits in groups of {INT4_GROUP}, found bits {bits} and "
            f"group_size {group}"
        )
    return PRECISIONS["int4"]
