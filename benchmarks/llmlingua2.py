"""LLMLingua-2 (arXiv 2403.12968) as a baseline: a token classifier deletes words, whatever the question is.

What is left is no text of the source, so turnout has no such strategy. The folder holds the published classifier, as
safetensors: microsoft/llmlingua-2-bert-base-multilingual-cased-meetingbank or its larger kin.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from turnout.compression.selection import Target
from turnout.progress import Watch
from turnout.sentences import sentences
from turnout.types import Part

WINDOW_TOKENS = 510
"""Read at once, without the marks at both ends; cut between sentences."""

AT_ONCE = 8
_WORD = re.compile(r"\S+")
_DIGIT = re.compile(r"\d")


class LLMLingua2:
    """Keeps the words that are likeliest to be kept, those with digits first, joined by blanks.

    Args:
        folder: of a token classifier with two labels, of which the second means to keep.
        count: tokens of a text, in the reader's tokenizer.
    """

    name = "llmlingua2"
    quotable = False

    def __init__(self, folder: Path, count: Callable[[str], int]) -> None:
        from transformers import AutoModelForTokenClassification, AutoTokenizer

        self._tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self._model: Any = AutoModelForTokenClassification.from_pretrained(
            folder, local_files_only=True, use_safetensors=True
        ).eval()
        if self._model.config.num_labels != 2:
            raise SystemExit(f"{folder} tells {self._model.config.num_labels} labels apart, LLMLingua-2 two")
        self._count = count

    def compress(
        self, question: str, parts: Sequence[Part], target: Target, watch: Watch | None = None
    ) -> tuple[Part, ...]:
        """At most `target.max_tokens` of all parts together; a part is one text again, its span that of all of it."""
        before = sum(self._count(part.text) for part in parts)
        if target.max_tokens is None or before <= target.max_tokens:
            return tuple(parts)
        words = [[found.span() for found in _WORD.finditer(part.text)] for part in parts]
        wanted = [self.words(part.text, each, watch or Watch()) for part, each in zip(parts, words, strict=True)]
        order = np.argsort(-np.concatenate([*wanted, np.zeros(0)]), kind="stable")
        ends = np.cumsum([len(each) for each in words])

        def left(most: int) -> list[Part]:
            kept = np.sort(order[:most])
            found: list[Part] = []
            for number, part in enumerate(parts):
                first = int(ends[number]) - len(words[number])
                mine = kept[(kept >= first) & (kept < ends[number])] - first
                text = " ".join(part.text[slice(*words[number][at])] for at in mine)
                if text:
                    found.append(Part(text, part.span, part.title))
            return found

        def tokens(most: int) -> int:
            return sum(self._count(part.text) for part in left(most))

        over = bisect.bisect_right(range(len(order) + 1), target.max_tokens, key=tokens)
        return tuple(left(max(over - 1, 0)))

    def words(self, text: str, words: Sequence[tuple[int, int]], watch: Watch) -> NDArray[np.float64]:
        """[words]: the mean of the probabilities of a word's tokens; 1 more for those with digits."""
        starts = [start for start, _ in words]
        sums, counts = np.zeros(len(words)), np.zeros(len(words))
        pieces = list(self._pieces(text))
        for first in range(0, len(pieces), AT_ONCE):
            watch.go_on()
            some = pieces[first : first + AT_ONCE]
            for (begin, piece), (offsets, keep) in zip(some, self._keep([piece for _, piece in some]), strict=True):
                for (start, end), value in zip(offsets, keep, strict=True):
                    if end > start:
                        # A mark of sentencepiece may begin a token with the blank before its word.
                        blank = len(piece[start:end]) - len(piece[start:end].lstrip())
                        at = bisect.bisect_right(starts, begin + start + blank) - 1
                        if at >= 0:
                            sums[at] += value
                            counts[at] += 1
        digits = np.array([bool(_DIGIT.search(text, *span)) for span in words], dtype=np.float64)
        found: NDArray[np.float64] = sums / np.maximum(counts, 1) + digits
        return found

    def _pieces(self, text: str) -> Iterator[tuple[int, str]]:
        """(where it begins, text) of runs of sentences that are read at once."""
        begin = end = tokens = 0
        for start, stop in sentences(text):
            size = len(self._tokenizer(text[start:stop], add_special_tokens=False, verbose=False)["input_ids"])
            if end > begin and tokens + size > WINDOW_TOKENS:
                yield begin, text[begin:end]
                begin, tokens = start, 0
            end, tokens = stop, tokens + size
        if end > begin:
            yield begin, text[begin:end]

    def _keep(self, texts: Sequence[str]) -> Iterator[tuple[list[tuple[int, int]], list[float]]]:
        """Of each text: (start, end) of its tokens in characters, and how likely each is kept."""
        import torch

        read = self._tokenizer(
            list(texts),
            return_tensors="pt",
            padding=True,
            truncation=True,
            max_length=WINDOW_TOKENS + 2,
            return_offsets_mapping=True,
        )
        offsets = read.pop("offset_mapping").tolist()
        with torch.inference_mode():
            keep = self._model(**read).logits.float().softmax(-1)[..., 1].tolist()
        for each, values in zip(offsets, keep, strict=True):
            yield [(start, end) for start, end in each], values
