"""An adapter of random weights, as PEFT writes one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from turnout.engines import adapter


def build(
    folder: Path, network: Any, identity: dict[str, Any] | None = None, *, of: str = "_proj", evidence: str = "none"
) -> Path:
    """Writes an adapter of rank 4 for every matrix of a network whose name ends with `of`.

    Args:
        identity: `adapter.identity` of the model; by default of the network alone.
    """
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(3)
    weights = {}
    for name, module in network.named_modules():
        if name.endswith(of):
            weights[f"base_model.model.{name}.lora_A.weight"] = torch.randn(4, module.in_features) * 0.1
            weights[f"base_model.model.{name}.lora_B.weight"] = torch.randn(module.out_features, 4) * 0.1
    folder.mkdir(parents=True, exist_ok=True)
    save_file(weights, folder / adapter.WEIGHTS)
    (folder / adapter.CONFIG).write_text(json.dumps({"peft_type": "LORA", "lora_alpha": 8, "r": 4}))
    base = {"name": "tiny", **(identity or {"shape": {}, "probe": adapter._probe(network)})}
    card = {"name": "a", "base": base, "recipe": {"evidence": evidence}}
    (folder / adapter.CARD).write_text(json.dumps(card))
    return folder
