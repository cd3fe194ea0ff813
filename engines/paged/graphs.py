"""Steps of one token a sequence on a GPU, captured once for each number of sequences and replayed from then on.

A step launches hundreds of kernels that take a few microseconds each; replayed as one graph they follow each other
without waiting for Python. A graph repeats the same branches, addresses and shapes, so there is one for each way that
the adapters' switches stand, and what changes from step to step lies in buffers: tokens, positions, slots, page tables
and lengths.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from turnout.engines.paged.lean import LeanModel
from turnout.engines.paged.pages import PAGE, PagePool

if TYPE_CHECKING:
    import torch

SIZES = (1, 2, 4, 8, 16)
"""Numbers of sequences that graphs are captured for; in between the next larger one runs, with idle rows."""

PROGRAMS = 1024
"""Programs of a layer's attention: several for each multiprocessor of a large GPU."""

MOST_PARTS = 64

Switches = tuple[bool, ...]
"""One truth for each adapter: whether it is on."""


@dataclass(slots=True)
class Buffers:
    """Inputs and output of the graph for `len(ids)` sequences.

    Attributes:
        ids, positions, slots: int64 [rows].
        tables: int32 [rows, pages of the pool]; lengths: int32 [rows], 0 for an idle row.
        hidden: [rows, hidden], after the graph's first run.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    slots: torch.Tensor
    tables: torch.Tensor
    lengths: torch.Tensor
    hidden: torch.Tensor | None = None


def can_capture(device: str, dim: int) -> bool:
    """Whether a model with heads of `dim` numbers can be run in graphs here."""
    from importlib.util import find_spec

    from turnout.kernels.attn_decode.api import DIMS

    return device.startswith("cuda") and dim in DIMS and find_spec("triton") is not None


class DecodeGraphs:
    """The graphs of one model over one pool; on a CPU the same steps run without being captured, for tests."""

    def __init__(self, lean: LeanModel, pool: PagePool, device: str) -> None:
        self._lean, self._pool, self._device = lean, pool, device
        self._buffers: dict[int, Buffers] = {}
        self._graphs: dict[tuple[int, Switches], Any] = {}
        # Idle rows write here.
        (self._idle,) = pool.take(1)

    def step(
        self, ids: Sequence[int], positions: Sequence[int], pages: Sequence[Sequence[int]], stand: Switches = ()
    ) -> torch.Tensor:
        """[sequences, hidden] after one token of each; its keys and values go into the last of its pages.

        Args:
            pages: of each sequence, with room for the token.
            stand: how the switches of the model's adapters stand.
        """
        import torch

        if not self._device.startswith("cuda"):
            return self._step(ids, positions, pages, stand)
        with torch.cuda.device(self._device):  # where captures and kernels go by default
            return self._step(ids, positions, pages, stand)

    def _step(
        self, ids: Sequence[int], positions: Sequence[int], pages: Sequence[Sequence[int]], stand: Switches
    ) -> torch.Tensor:
        size = next(size for size in SIZES if size >= len(ids))
        if size not in self._buffers:
            self._buffers[size] = self._made(size)
        buffers = self._buffers[size]
        self._fill(buffers, ids, positions, pages)
        if not self._device.startswith("cuda"):
            self._run(buffers)
        elif (size, stand) in self._graphs:
            self._graphs[size, stand].replay()
        else:
            self._graphs[size, stand] = self._captured(buffers)
        assert buffers.hidden is not None  # noqa: S101 - every way above sets it
        return buffers.hidden[: len(ids)]

    def _made(self, size: int) -> Buffers:
        import torch

        ids, positions, slots = torch.zeros(3, size, dtype=torch.long, device=self._device)
        # The kernel is compiled for strides that are multiples of 16.
        tables = torch.zeros(size, -(-self._pool.size // 16) * 16, dtype=torch.int32, device=self._device)
        return Buffers(ids, positions, slots, tables, torch.zeros(size, dtype=torch.int32, device=self._device))

    def _fill(
        self, buffers: Buffers, ids: Sequence[int], positions: Sequence[int], pages: Sequence[Sequence[int]]
    ) -> None:
        import torch

        idle = [0] * (len(buffers.ids) - len(ids))
        slots = [own[at // PAGE] * PAGE + at % PAGE for own, at in zip(pages, positions, strict=True)]
        values = (
            (buffers.ids, [*ids, *idle]),
            (buffers.positions, [*positions, *idle]),
            (buffers.slots, [*slots, *(self._idle * PAGE for _ in idle)]),
            (buffers.lengths, [*(at + 1 for at in positions), *idle]),
        )
        for buffer, numbers in values:
            buffer.copy_(torch.tensor(numbers, dtype=buffer.dtype))
        for row, own in zip(buffers.tables, pages, strict=False):
            row[: len(own)] = torch.tensor(own, dtype=torch.int32)

    def _run(self, buffers: Buffers) -> None:
        from turnout.kernels.attn_decode.api import attn_decode

        pool = self._pool
        parts = MOST_PARTS
        while parts > 1 and parts * len(buffers.ids) * pool.shape.heads > PROGRAMS:
            parts //= 2

        def attend(
            layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, window: int | None
        ) -> torch.Tensor:
            keys, values = pool.keys[layer], pool.values[layer]
            keys.index_copy_(0, buffers.slots, key)
            values.index_copy_(0, buffers.slots, value)
            output, _ = attn_decode(
                query[:, None],
                keys,
                values,
                buffers.tables,
                buffers.lengths,
                scale=query.shape[-1] ** -0.5,
                page=PAGE,
                window=window,
                parts=parts,
            )
            return output[:, 0]

        hidden = self._lean.step(buffers.ids, buffers.positions, attend)
        if buffers.hidden is None:
            buffers.hidden = hidden
        else:
            buffers.hidden.copy_(hidden)

    def _captured(self, buffers: Buffers) -> Any:
        import torch

        # Kernels are compiled and libraries set up by a first run, which a capture must not hold.
        stream: Any = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(stream):
            self._run(buffers)
        torch.cuda.current_stream(self._device).wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._run(buffers)
        graph.replay()
        return graph
