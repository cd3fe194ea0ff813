"""A model whose attention is cut measures a smaller window than the same model whole."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.tiny_models import text_of

from turnout.config import Settings
from turnout.documents import Span
from turnout.engines.loading import Sequence
from turnout.engines.local import LocalEngine
from turnout.engines.models import model_folder
from turnout.router.calibration.filler import read_texts
from turnout.router.calibration.store import KindWindow
from turnout.router.calibration.window import NEW_TOKENS, Design, measure_window
from turnout.types import Context, GenerationParams, Part

if TYPE_CHECKING:
    import torch

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.shared, pytest.mark.timeout(1800)]

# Texts that stay as they are: with the project's own pages as filler, the figures changed whenever those did.
TEXTS = Path(__file__).parents[3] / "shared/data/haystack/texts.jsonl.gz"

SIGHT = 512
# Half of the trials are lexical: 48 at each size. At 1,024 tokens the cut model still sees nearly half of the facts.
PARAMS = GenerationParams(max_tokens=NEW_TOKENS)
DESIGN = Design(("needle",), (256, 512, 1024), seeds=(1,), documents=24, questions=4)


class CutSequence(Sequence):
    """Forgets what lies more than SIGHT tokens before each forward pass. Positions keep counting."""

    def append(self, ids: list[int]) -> torch.Tensor:
        import torch

        # The cache no longer knows how much was read, so the model has to be told.
        positions = torch.arange(self.length, self.length + len(ids), device=self._device)[None]
        with torch.inference_mode():
            output = self._network(
                input_ids=torch.tensor([ids], device=self._device),
                position_ids=positions,
                **{self._argument: self._cache},
                use_cache=True,
                logits_to_keep=1,
            )
        for layer in self._cache.layers:
            layer.keys = layer.keys[..., -SIGHT:, :]
            layer.values = layer.values[..., -SIGHT:, :]
        self.length += len(ids)
        return output.logits[0, -1:]


class CutEngine(LocalEngine):
    """Reads in small steps, so that the sight is never much over SIGHT."""

    def _paged(self, network: Any) -> None:
        return None

    def sequence(self, namespace: str | None = None) -> CutSequence:
        self.open()
        return CutSequence(self._network, self.device)


@pytest.fixture
def folder(real_home: Path) -> Path:
    settings = Settings(home=real_home, device="cpu")
    return model_folder(settings.model, settings, role="generator")


def needle(engine: LocalEngine) -> KindWindow:
    def answer(document: str, questions: list[str]) -> list[str]:
        # One prompt a question: a cut cache can't be taken back to the end of the document.
        parts = (Part(document, Span("synthetic", 0, len(document))),)
        return [text_of(engine.generate(Context(parts, question), PARAMS)) for question in questions]

    found = measure_window(answer, engine.count_text, read_texts(TEXTS), engine.model, DESIGN)
    engine.close()
    return found.kinds[0]


def lexical(found: KindWindow) -> dict[int, float]:
    return {point.size: point.score for point in found.curve if point.phrasing == "lexical"}


def test_attention_cut_to_512_tokens_measures_smaller(folder: Path) -> None:
    whole = needle(LocalEngine(folder, device="cpu", chunk_tokens=128))
    cut = needle(CutEngine(folder, device="cpu", chunk_tokens=128))
    # Prompts of the smallest size fit the sight, so that both models read and say the same there.
    # But for rounding: only the whole one reads in pages and writes with weights in int8.
    assert lexical(cut)[256] == pytest.approx(lexical(whole)[256], abs=0.1)
    assert lexical(cut)[1024] < lexical(whole)[1024] / 2
    assert whole.mecw is not None and cut.mecw is not None
    assert cut.mecw < whole.mecw
    assert (whole.per_phrasing["lexical"], cut.per_phrasing["lexical"]) == (1024, 256)
