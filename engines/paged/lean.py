"""Steps of a few tokens without modules: the same model as plain matrices, for writing on a CPU.

One token through a small model is much overhead: hundreds of modules, each of a few short operations. Here the
projections that read the same input are one matrix, and weights may be int8 (one scale a row), which halves what a step
reads. Without int8 the modules' weights become views of these matrices, so that nothing is needed twice.

The layer is that of llama, mistral, qwen2 and qwen3: x + attention(norm(x)), then x + down(silu(gate) * up) of norm(x).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch

MODEL_TYPES = frozenset({"llama", "mistral", "qwen2", "qwen3"})

ROWS = 16
"""Tokens up to which a step gains from it."""

Matrix = Callable[["torch.Tensor"], "torch.Tensor"]
"""[rows, in] -> [rows, out]"""


def fits(config: Mapping[str, Any]) -> bool:
    """Whether this computes models of a configuration: not with another activation, or packed weights."""
    is_plain = config.get("hidden_act", "silu") == "silu" and not config.get("quantization_config")
    return config.get("model_type") in MODEL_TYPES and is_plain


class Attend(Protocol):
    """Writes a layer's new keys and values into the pages, and looks at all that each row's sequence has."""

    def __call__(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, window: int | None
    ) -> torch.Tensor:
        """query [rows, heads, dim], key and value [rows, key heads, dim] -> [rows, heads, dim]"""


@dataclass(frozen=True, slots=True)
class Block:
    """One layer."""

    attention_norm: torch.Tensor
    qkv: Matrix
    head_norms: tuple[torch.Tensor, torch.Tensor] | None
    out: Matrix
    mlp_norm: torch.Tensor
    gate_up: Matrix
    down: Matrix
    window: int | None


class LeanModel:
    """The weights of a network as matrices.

    Args:
        network: of one of MODEL_TYPES.
        int8: keep a copy of every matrix in int8 and compute with that.

    Attributes:
        head: [rows, hidden] -> logits [rows, vocabulary].
    """

    def __init__(self, network: Any, int8: bool) -> None:
        config = network.config
        made = _int8 if int8 else _plain
        self._dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        self._heads, self._kv_heads = config.num_attention_heads, config.num_key_value_heads
        self._eps = config.rms_norm_eps
        self._embedding = network.get_input_embeddings().weight
        self._rope = network.model.rotary_emb
        self._norm = network.model.norm.weight
        self.head = made([network.get_output_embeddings()])
        self._blocks = [self._block(layer, made) for layer in network.model.layers]

    def step(self, ids: torch.Tensor, positions: torch.Tensor, attend: Attend) -> torch.Tensor:
        """[rows, hidden] of a step, after the last norm.

        Args:
            ids, positions: [rows], on the device.
        """
        from torch.nn.functional import rms_norm, silu

        x = self._embedding[ids]
        cos, sin = self._rope(x, positions[None])
        cos, sin = cos[0][:, None], sin[0][:, None]
        size = (x.shape[-1],)
        for index, block in enumerate(self._blocks):
            normed = rms_norm(x, size, block.attention_norm, self._eps)
            query, key, value = self._projected(block, normed, cos, sin)
            found = attend(index, query, key, value, block.window)
            x = x + block.out(found.reshape(len(x), -1))
            gate, up = block.gate_up(rms_norm(x, size, block.mlp_norm, self._eps)).chunk(2, -1)
            x = x + block.down(silu(gate) * up)
        return rms_norm(x, size, self._norm, self._eps)

    def _projected(
        self, block: Block, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Query, key and value with their positions, [rows, heads of each, dim]."""
        import torch

        turned = self._heads + self._kv_heads
        qkv = block.qkv(x).view(len(x), -1, self._dim)
        both = qkv[:, :turned]
        if block.head_norms is not None:
            query_norm, key_norm = block.head_norms
            parts = (both[:, : self._heads], query_norm), (both[:, self._heads :], key_norm)
            both = torch.cat([torch.nn.functional.rms_norm(x, (self._dim,), w, self._eps) for x, w in parts], 1)
        low, high = both.chunk(2, -1)
        both = both * cos + torch.cat((-high, low), -1) * sin
        return both[:, : self._heads], both[:, self._heads :], qkv[:, turned:]

    def _block(self, layer: Any, made: Callable[[Sequence[Any]], Matrix]) -> Block:
        attention, mlp = layer.self_attn, layer.mlp
        norms = (attention.q_norm.weight, attention.k_norm.weight) if hasattr(attention, "q_norm") else None
        return Block(
            layer.input_layernorm.weight,
            made([attention.q_proj, attention.k_proj, attention.v_proj]),
            norms,
            made([attention.o_proj]),
            layer.post_attention_layernorm.weight,
            made([mlp.gate_proj, mlp.up_proj]),
            made([mlp.down_proj]),
            _window(attention),
        )


def _window(attention: Any) -> int | None:
    """Tokens that the layer sees; None for all. Mistral has it for the whole model."""
    config = attention.config
    whole = config.sliding_window if config.model_type == "mistral" else None
    found: int | None = getattr(attention, "sliding_window", whole)
    return found


def _plain(linears: Sequence[Any]) -> Matrix:
    """The layers' matrices one below the other; the layers get views of it."""
    import torch

    bias = torch.cat([linear.bias for linear in linears]) if linears[0].bias is not None else None
    if len(linears) == 1:
        weight = linears[0].weight
    else:
        weight = torch.cat([linear.weight.data for linear in linears])
        for linear, view in zip(linears, torch.split(weight, [len(linear.weight) for linear in linears]), strict=True):
            linear.weight.data = view
    return _switched(linears, lambda x: torch.nn.functional.linear(x, weight, bias))


def _switched(linears: Sequence[Any], plain: Matrix) -> Matrix:
    """With the layers' adapters, where they have some that can be switched."""
    from turnout.engines.paged.switched import SwitchedLinear, joined

    switch = next((linear.switch for linear in linears if isinstance(linear, SwitchedLinear)), None)
    if switch is None:
        return plain
    down, up = joined(linears)
    return lambda x: switch.added(plain(x), x, down, up)


def _int8(linears: Sequence[Any]) -> Matrix:
    """The same in int8: w = scale of its row * a whole number from -127 to 127."""
    import torch

    bias = torch.cat([linear.bias for linear in linears]) if linears[0].bias is not None else None
    weight = torch.cat([linear.weight.data for linear in linears])
    # Rounded first: it is the rounded scale that the product is multiplied by.
    scales = (weight.abs().amax(1).float().clamp(min=1e-12) / 127).to(weight.dtype)
    whole = (weight.float() / scales.float()[:, None]).round().clamp(-127, 127).to(torch.int8)

    def product(x: torch.Tensor) -> torch.Tensor:
        found = torch._weight_int8pack_mm(x, whole, scales)
        return found if bias is None else found + bias

    return _switched(linears, product)
