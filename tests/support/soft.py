"""Soft tokens of a tiny model, and weights for them of random numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from support import adapters
from turnout.engines import adapter
from turnout.engines.local import LocalEngine
from turnout.engines.soft.kind import SoftContext, SoftKind
from turnout.types import Context


def weights(folder: Path, engine: LocalEngine, *, rate: int = 2, linear: float = 0.1, **card: Any) -> Path:
    """Weights as `turnout train soft` writes them.

    Args:
        linear: size of the linear layer's numbers.
    """
    import torch
    from safetensors.torch import save_file

    engine.open()
    adapters.build(folder, engine._opened().network, adapter.identity(engine.folder, engine._opened().network))
    hidden = engine._opened().network.get_input_embeddings().weight.shape[1]
    save_file({"weight": torch.randn(hidden, hidden) * linear}, folder / "linear.safetensors")
    written = json.loads((folder / "card.json").read_text())
    written |= {"kind": "soft", "rate": rate, "piece_tokens": 20, "end": 2, **card}
    (folder / "card.json").write_text(json.dumps(written))
    return folder


def pieces(ids: list[int], kind: SoftKind) -> list[list[int]]:
    """Token ids cut without regard to sentences."""
    return [ids[begin : begin + kind.piece_tokens] for begin in range(0, len(ids), kind.piece_tokens)]


def softened(engine: LocalEngine, context: Context) -> SoftContext:
    """The same context with soft tokens, every part as one segment."""
    kind = engine.soft_kind()
    values = tuple((b"".join(engine.soften(pieces(engine.placed(part.text)[0], kind))),) for part in context.parts)
    return SoftContext(context.parts, context.question, context.history, context.task, soft=values, kind=kind)
