"""A random BERT of two layers over a vocabulary of given words, in the layout of sentence-transformers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

DIMENSION = 24
MEAN = {"word_embedding_dimension": DIMENSION, "pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}


def build(folder: Path, words: Sequence[str], positions: int = 32) -> Path:
    """Writes the folder; words are told apart as they are, everything else is unknown.

    Args:
        positions: the longest text in tokens.
    """
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel

    folder.mkdir(parents=True, exist_ok=True)
    marks = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    vocabulary = {word: i for i, word in enumerate([*marks, *dict.fromkeys(words)])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=DIMENSION,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        max_position_embeddings=positions,
        architectures=["BertModel"],
    )
    BertModel(config).save_pretrained(folder)
    write(folder / "modules.json", modules("Transformer", "Pooling", "Normalize"))
    write(folder / "1_Pooling" / "config.json", MEAN)
    write(folder / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "[PAD]"})
    write(folder / "sentence_bert_config.json", {"max_seq_length": positions, "do_lower_case": False})
    return folder


def modules(*names: str) -> list[dict[str, object]]:
    """The content of modules.json."""
    return [
        {
            "idx": i,
            "name": str(i),
            "path": "" if i == 0 else f"{i}_{name}",
            "type": f"sentence_transformers.models.{name}",
        }
        for i, name in enumerate(names)
    ]


def write(path: Path, value: object) -> None:
    """Writes JSON, making the folder."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")
