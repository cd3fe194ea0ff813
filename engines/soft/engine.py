"""What a local engine does with soft tokens: it makes them, and reads them in place of documents."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from turnout.config import DEFAULT_SOFT
from turnout.engines.inside import Inside
from turnout.engines.soft import weights
from turnout.engines.soft.kind import COMPLLM, MEAN, PIECE_TOKENS, SoftContext, SoftKind, mean_rate
from turnout.progress import Watch

if TYPE_CHECKING:
    from turnout.engines.device import DtypeName
    from turnout.engines.folder import ModelFolder
    from turnout.engines.paged.sequence import Fragment
    from turnout.engines.soft.weights import Loaded, SoftWeights

VERSION = 1
"""Of how texts are cut and values computed; part of the fingerprint."""


class Softening(Inside):
    """The part of `LocalEngine` that knows soft tokens. They are made and read by the model as it is, without its
    adapter."""

    soft: str = DEFAULT_SOFT
    _loaded_soft: Loaded | None = None

    @property
    @abstractmethod
    def folder(self) -> ModelFolder: ...

    @property
    @abstractmethod
    def dtype(self) -> DtypeName: ...

    @property
    @abstractmethod
    def device(self) -> str: ...

    @cached_property
    def _soft_weights(self) -> SoftWeights | None:
        """Raises ModelError, ConfigurationError: the setting is of no use with this model."""
        if mean_rate(self.soft) is not None:
            return None
        return weights.read(Path(self.soft).expanduser(), self.folder, self._name)

    def soft_kind(self) -> SoftKind:
        """What its soft tokens are; needs no weights of the model.

        Raises:
            ModelError, ConfigurationError: the setting is of no use with this model.
        """
        trained = self._soft_weights
        config = self.folder.config.get("text_config") or self.folder.config
        name, rate = (MEAN, mean_rate(self.soft) or 1) if trained is None else (COMPLLM, trained.rate)
        piece_tokens = PIECE_TOKENS if trained is None else trained.piece_tokens
        by = "" if trained is None else f"-{trained.sha256[:16]}"
        model = f"{self.folder.fingerprint[:32]}-{self.dtype}"
        fingerprint = f"soft/{VERSION}/{name}:{rate}x{piece_tokens}{by}/{model}"
        return SoftKind(name, rate, int(config["hidden_size"]), self.dtype, fingerprint, piece_tokens)

    def can_soften(self) -> bool:
        """Whether it reads embeddings in a prompt: keys and values lie in pages."""
        return self.admission.footprint.paged

    def soften(self, pieces: Sequence[Sequence[int]], watch: Watch | None = None) -> list[bytes]:
        """The soft tokens of each piece, [count, dimension] of the kind's dtype. A piece is read alone, so they are the
        same whatever stands beside it.

        Args:
            pieces: token ids of texts, 1 to `soft_kind().piece_tokens` of each.

        Raises:
            ModelError: the model's keys and values do not lie in pages, or the weights are damaged.
            Cancelled: the watch said so after a batch.
        """
        with self._with_pages("read soft tokens", 0, watch):
            import torch

            from turnout.engines.soft.making import made

            loaded, trained = self._opened(), self._soft_weights
            if trained is not None and self._loaded_soft is None:
                self._loaded_soft = loaded.owner.run(partial(weights.load, loaded.network, trained, self._name))
            rate, watch = self.soft_kind().rate, watch or Watch()
            found = made(loaded.network, self.device, pieces, rate, self._loaded_soft, watch, loaded.owner.run)
            return [value.contiguous().view(torch.uint8).numpy().tobytes() for value in found]

    def soft_prompt(self, context: SoftContext) -> list[Fragment]:
        """The prompt of a context, ids around embeddings.

        Raises:
            EngineError: the soft tokens are not this engine's.
        """
        from turnout.engines.soft.reading import fragments

        return fragments(self.tokenizer, context, self.soft_kind())
