"""LDAR's policy as `turnout train ldar` has written it: a folder with safetensors weights and a card."""

from __future__ import annotations

import hashlib
import json
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from turnout.errors import ConfigurationError, MissingExtraError, ModelError
from turnout.retrieval.band import Band, Policy
from turnout.retrieval.vectors import name_of

if TYPE_CHECKING:
    from turnout.contracts import Embedder
    from turnout.retrieval.band_network import BandNetwork

WEIGHTS, CARD = "ldar.safetensors", "card.json"
KIND = "ldar"


class LearnedBand:
    """Its card is read at once, its weights at first use.

    Args:
        folder: holds WEIGHTS and CARD.

    Attributes:
        reader: name of the model, with its adapter, that it was trained for.
        embedder: name of the embedder whose similarities it has learnt.
        most_tokens: see `Policy`.
        sha256: of the weights.

    Raises:
        ModelError: the card is missing or damaged.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._network: BandNetwork | None = None
        card = _card(folder)
        try:
            self.reader, self.embedder = str(card["reader"]["name"]), str(card["embedder"]["name"])
            self.most_tokens = int(card["recipe"]["max_tokens"])
            self.sha256 = str(card["sha256"])
            self._sizes = int(card["recipe"]["width"]), int(card["recipe"]["layers"])
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"{folder / CARD} lacks a usable {error}", hint="turnout train ldar makes it") from error

    def check(self, embedder: Embedder) -> None:
        """Refuses an embedder whose similarities it has not learnt.

        Raises:
            ConfigurationError: it is another one.
        """
        if name_of(embedder) != self.embedder:
            raise ConfigurationError(
                f"the policy in {self._folder} was trained with the embedder {self.embedder}, not with "
                f"{name_of(embedder)}",
                hint="use that embedder, or train a policy with this one: turnout train ldar",
            )

    def open(self) -> None:
        """Loads the weights.

        Raises:
            ModelError: they are missing or damaged.
            MissingExtraError: torch is not installed.
        """
        self._opened()

    def band(self, similarities: NDArray[np.float32]) -> Band:
        """The means of what it would draw. The same whatever the order of the similarities.

        Raises:
            ModelError: see `open`; or a similarity is no number.
            ValueError: there are none.
        """
        if not len(similarities):
            raise ValueError("a band of no passages")
        if not np.isfinite(similarities).all():
            raise ModelError("a similarity is no number", hint="use another embedder")
        import torch

        from turnout.retrieval.band_network import looked_at, means

        network = self._opened()
        seen = torch.from_numpy(looked_at(similarities))[None]
        with torch.inference_mode():
            found = means(network(seen, torch.ones_like(seen, dtype=torch.bool), torch.tensor([len(similarities)])))
        high, width = found[0].tolist()
        return Band(high, width)

    def _opened(self) -> BandNetwork:
        with self._lock:
            if self._network is None:
                self._network = self._load()
            return self._network

    def _load(self) -> BandNetwork:
        file = self._folder / WEIGHTS
        if not file.is_file():
            raise ModelError(f"{file} is missing", hint="turnout train ldar makes it; only safetensors are loaded")
        data = file.read_bytes()
        if hashlib.sha256(data).hexdigest() != self.sha256:
            raise ModelError(f"{file} is not what its card says", hint="get the folder again, or train it anew")
        try:
            import torch
            from safetensors.torch import load

            from turnout.retrieval.band_network import BandNetwork
        except ImportError as error:
            raise MissingExtraError("rag:ldar", "local") from error
        try:
            with torch.device("meta"):  # no first weights are drawn, which would move the seed of others
                network = BandNetwork(*self._sizes)
            network.load_state_dict(load(data), assign=True)
        except Exception as error:  # of safetensors' own kind, or what torch raises for sizes that can't be
            raise ModelError(f"{file} can't be loaded: {error}", hint="train it anew") from error
        return network.eval()


def _card(folder: Path) -> dict[str, Any]:
    try:
        card = json.loads((folder / CARD).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder / CARD} can't be read: {error}", hint="turnout train ldar makes it") from error
    if not isinstance(card, dict) or card.get("kind") != KIND:
        raise ModelError(f"{folder} holds no weights of turnout train ldar", hint="give the folder DIR/ldar of a run")
    return card


if TYPE_CHECKING:
    _: type[Policy] = LearnedBand
