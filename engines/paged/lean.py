"""Steps of a few tokens without modules: the same model as plain matrices, for writing on a CPU.

One token through a small model is much overhead: hundreds of modules, each of a few short operations. Here the
projections that read the same input are one matrix, and weights may be int8, see `matrices`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from turnout.engines.paged import matrices
from turnout.engines.paged.kinds import MODEL_TYPES
from turnout.engines.paged.matrices import Function, Join, norm

if TYPE_CHECKING:
    import torch

ROWS = 16
"""Tokens up to which a step gains from it."""


def fits(config: Mapping[str, Any]) -> bool:
    """Whether this computes models of a configuration: not with packed weights."""
    return config.get("model_type") in MODEL_TYPES and not config.get("quantization_config")


class Attend(Protocol):
    """Writes a layer's new keys and values into the pages, and looks at all that each row's sequence has."""

    def __call__(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, window: int | None
    ) -> torch.Tensor:
        """query [rows, heads, dim], key and value [rows, key heads, dim] -> [rows, heads, dim]"""


@dataclass(frozen=True, slots=True)
class Block:
    """One layer: x + attention(norm(x)), then x + mlp(mlp_norm(x)); without `mlp_norm` both are of norm(x) (phi)."""

    norm: Function
    qkv: Function
    head_norms: tuple[Function, Function] | None
    out: Function
    mlp_norm: Function | None
    mlp: Function
    window: int | None


class LeanModel:
    """The weights of a network as matrices.

    Args:
        network: whose configuration `fits`.
        int8: keep a copy of every matrix in int8 and compute with that.

    Attributes:
        head: [rows, hidden] -> logits [rows, vocabulary].
    """

    def __init__(self, network: Any, int8: bool) -> None:
        config, model = network.config, network.model
        join = matrices.int8 if int8 else matrices.plain
        self._dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        self._heads, self._kv_heads = config.num_attention_heads, config.num_key_value_heads
        self._embedding = network.get_input_embeddings().weight
        self._rope = model.rotary_emb
        self._norm = norm(model.norm if hasattr(model, "norm") else model.final_layernorm)
        self.head = join([network.get_output_embeddings()])
        self._blocks = [_block(layer, join) for layer in model.layers]

    def step(self, ids: torch.Tensor, positions: torch.Tensor, attend: Attend) -> torch.Tensor:
        """[rows, hidden] of a step, after the last norm.

        Args:
            ids, positions: [rows], on the device.
        """
        x = self._embedding[ids]
        cos, sin = self._rope(x, positions[None])
        cos, sin = cos[0][:, None], sin[0][:, None]
        for index, block in enumerate(self._blocks):
            normed = block.norm(x)
            found = attend(index, *self._projected(block, normed, cos, sin), block.window)
            x = x + block.out(found.reshape(len(x), -1))
            x = x + block.mlp(normed if block.mlp_norm is None else block.mlp_norm(x))
        return self._norm(x)

    def _projected(
        self, block: Block, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Query, key and value with their positions, [rows, heads of each, dim]."""
        import torch

        queries, turned = self._heads, self._heads + self._kv_heads
        qkv = block.qkv(x).view(len(x), -1, self._dim)
        both = qkv[:, :turned]
        if block.head_norms is not None:
            query_norm, key_norm = block.head_norms
            both = torch.cat([query_norm(both[:, :queries]), key_norm(both[:, queries:])], 1)
        both = rotated(both, cos, sin)
        return both[:, :queries], both[:, queries:], qkv[:, turned:]


def rotated(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotary positions; of cos and sin narrower than x, its first numbers alone are turned."""
    import torch

    size = cos.shape[-1]
    part = x[..., :size]
    low, high = part.chunk(2, -1)
    turned = part * cos + torch.cat((-high, low), -1) * sin
    return turned if size == x.shape[-1] else torch.cat((turned, x[..., size:]), -1)


def _block(layer: Any, join: Join) -> Block:
    attention = layer.self_attn
    is_parallel = not hasattr(layer, "post_attention_layernorm")
    return Block(
        norm(layer.input_layernorm),
        join(
            [attention.qkv_proj] if hasattr(attention, "qkv_proj") else _each(attention, "q_proj", "k_proj", "v_proj")
        ),
        _head_norms(attention),
        join([attention.dense if hasattr(attention, "dense") else attention.o_proj]),
        None if is_parallel else norm(layer.post_attention_layernorm),
        _mlp(layer.mlp, join),
        _window(attention),
    )


def _head_norms(attention: Any) -> tuple[Function, Function] | None:
    for names in (("q_norm", "k_norm"), ("q_layernorm", "k_layernorm")):
        if hasattr(attention, names[0]):
            query, key = _each(attention, *names)
            return norm(query), norm(key)
    return None


def _mlp(mlp: Any, join: Join) -> Function:
    """down(act(gate) * up), or fc2(act(fc1)) (phi)."""
    if hasattr(mlp, "fc1"):
        first, second, act = join([mlp.fc1]), join([mlp.fc2]), mlp.activation_fn
        return lambda x: second(act(first(x)))
    is_joined = hasattr(mlp, "gate_up_proj")
    gate_up = join(_each(mlp, *(["gate_up_proj"] if is_joined else ["gate_proj", "up_proj"])))
    down, act = join([mlp.down_proj]), mlp.activation_fn if is_joined else mlp.act_fn

    def gated(x: torch.Tensor) -> torch.Tensor:
        gate, up = gate_up(x).chunk(2, -1)
        return down(act(gate) * up)

    return gated


def _each(module: Any, *names: str) -> list[Any]:
    return [getattr(module, name) for name in names]


def _window(attention: Any) -> int | None:
    """Tokens that the layer sees; None for all. Mistral and phi3 have it for the whole model."""
    config = attention.config
    whole = config.sliding_window if config.model_type in ("mistral", "phi3") else None
    found: int | None = getattr(attention, "sliding_window", whole)
    return found
