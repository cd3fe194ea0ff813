"""What the machine gives, and torch's own attention: the baselines of attention.py, in the same run."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.attention.flex_attention import BlockMask, flex_attention

from turnout.engines.paged.sparse import Rows
from turnout.kernels.shared.index import BlockIndex

BACKENDS = {"cudnn": SDPBackend.CUDNN_ATTENTION, "flash": SDPBackend.FLASH_ATTENTION}
CLOCKS = "name,driver_version,clocks.sm,clocks.max.sm,clocks.mem,power.limit,temperature.gpu"
GEMM = 8192


def machine(device: str, seconds: Callable[[Callable[[], Any]], dict[str, float]]) -> dict[str, Any]:
    """Bytes that a copy moves and products that a matrix multiplication makes a second, of drawn numbers: zeros need
    less power and look faster. Clocks are those that the driver tells, where it does.

    Args:
        seconds: times some work.
    """
    on_gpu = device == "cuda"
    size = GEMM if on_gpu else 256
    kind = torch.bfloat16 if on_gpu else torch.float32
    a, b = (torch.randn(size, size, device=device).to(kind) for _ in "ab")
    source = torch.randn((1 << 29) if on_gpu else (1 << 16), device=device).to(kind)
    target = torch.empty_like(source)
    copied, product = seconds(lambda: target.copy_(source)), seconds(lambda: a @ b)
    return {
        "copy_bytes_per_s": 2 * source.nbytes / copied["median_s"],
        "gemm_flop_per_s": 2 * size**3 / product["median_s"],
        "told": _told() if on_gpu else None,
    }


def _told() -> str | None:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    said = subprocess.run([tool, f"--query-gpu={CLOCKS}", "--format=csv,noheader"], capture_output=True, text=True)
    return said.stdout.strip() or None


def causal(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, backend: str) -> Callable[[], Any]:
    """A whole prompt's attention by one of torch's backends; [tokens, heads, dim]."""
    q, k, v = (tensor.transpose(0, 1)[None] for tensor in (query, key, value))
    attend = torch.nn.functional.scaled_dot_product_attention

    def work() -> Any:
        with sdpa_kernel(BACKENDS[backend]):
            return attend(q, k, v, is_causal=True, enable_gqa=True)

    return work


def flex(rows: Rows, index: BlockIndex) -> Callable[[], torch.Tensor]:
    """FlexAttention over the same tiles, [1, query heads, tokens, dim]; compiled on a GPU."""
    heads, device = rows.query.shape[1], rows.query.device
    attend: Any = torch.compile(flex_attention, dynamic=False) if device.type == "cuda" else flex_attention
    past = rows.past
    full, part = (tiles.repeat_interleave(heads // index.heads, 0)[None] for tiles in _tiles(index, len(rows.key)))
    listed = (full | part)[0]

    def seen(batch: Any, head: Any, row: Any, key: Any) -> Any:
        return row + past >= key

    def seen_of_lists(batch: Any, head: Any, row: Any, key: Any) -> Any:
        """Without being compiled it goes by the mask alone, not by the lists."""
        return listed[head, row // index.block_m, key // index.block_n] & (row + past >= key)

    lists = (*_listed(part), *_listed(full))
    mask = BlockMask.from_kv_blocks(
        *lists,
        BLOCK_SIZE=(index.block_m, index.block_n),
        mask_mod=seen if device.type == "cuda" else seen_of_lists,
        seq_lengths=(len(rows.query), len(rows.key)),
    )
    q, k, v = (tensor.transpose(0, 1)[None] for tensor in rows[:3])

    def work() -> torch.Tensor:
        found: torch.Tensor = attend(q, k, v, block_mask=mask, scale=rows.scale, enable_gqa=True)
        return found

    return work


def _tiles(index: BlockIndex, keys: int) -> tuple[torch.Tensor, torch.Tensor]:
    """bool [heads of the index, blocks, tiles] twice: those that need no mask, and the others that are listed."""
    ids, device = index.indices.long(), index.indices.device
    counts = (index.indptr[1:] - index.indptr[:-1]).long()
    row = torch.repeat_interleave(torch.arange(len(counts), device=device), counts)
    at = torch.arange(len(ids), device=device) - index.indptr[:-1].long()[row]
    found = torch.zeros(2, len(counts), -(-keys // index.block_n), dtype=torch.bool, device=device)
    found[(at >= index.n_full.long()[row]).long(), row, ids] = True
    full, part = found.view(2, index.heads, -1, found.shape[2])
    return full, part


def _listed(tiles: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """int32 [..., blocks] how many tiles, and [..., blocks, tiles] which, those first."""
    order = tiles.int().sort(dim=-1, descending=True, stable=True).indices
    return tiles.sum(-1).int(), order.int()
