"""Turns a GGUF file into a folder of bf16 safetensors with its tokenizer; run once, as a program of its own.

    python -m turnout.engines.gguf MODEL.gguf FOLDER

A separate process, because the conversion holds the weights several times over and its libraries write to stderr.
"""

from __future__ import annotations

import sys
from pathlib import Path


def convert(file: Path, folder: Path) -> None:
    """De-quantises `file` into `folder` (config, generation config, model.safetensors, tokenizer, chat template)."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    tokenizer.save_pretrained(folder)
    _restore_digit_split(file, folder / "tokenizer.json")
    model = AutoModelForCausalLM.from_pretrained(
        file.parent,
        gguf_file=file.name,
        dtype=torch.bfloat16,
        quantization_config=GgufConfig(dequantize=True),
    )
    model.save_pretrained(folder)


def _restore_digit_split(file: Path, tokenizer_json: Path) -> None:
    """GGUF names its pre-tokenizer ("smollm": every digit apart, then byte level), and transformers drops the name.

    Without it spaces and line breaks before a number become other tokens than those the model was trained on.
    """
    from gguf import GGUFReader
    from tokenizers import Tokenizer, pre_tokenizers

    field = GGUFReader(file).get_field("tokenizer.ggml.pre")
    if field is None or field.contents() != "smollm":
        return
    tokenizer = Tokenizer.from_file(str(tokenizer_json))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.save(str(tokenizer_json))


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
