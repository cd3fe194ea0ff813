"""The steps of training that need the model: torch, transformers and PEFT alone, from token ids to token ids.

Everything that needs texts happens before and after (`turnout.train`), so that these can run on a machine with a GPU
and little else. Each step leaves a file in the run's folder, and is skipped where its file is there.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from turnout.engines import adapter, folder, loading
from turnout.engines.device import pick_device, pick_dtype
from turnout.engines.folder import ModelFolder
from turnout.engines.manifest import sha256_of
from turnout.errors import ModelError
from turnout.progress import Progress
from turnout.training import fitting, lora
from turnout.training.generation import generate
from turnout.training.recipe import Recipe
from turnout.training.tokens import TokenisedSheets

PLAN = "plan.json"
LESSONS, REQUESTS, KEPT = "lessons.npz", "requests.npz", "kept.npz"
WATCHED = "watched.npz"
ASKED = {"trained": "valid.npz", "plain": "valid_plain.npz"}
"""Prompts of the valid fold, as the model is asked with the adapter and as it is without."""
VERSION = 3
NAME = "reader1"
ADAPTER = "adapter"
START = "start"
"""Folder of the adapter that training goes on from, if there is one."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run's folder was prepared with; it is kept there as `plan.json`.

    Attributes:
        model: name of the model.
        answer_tokens, kept_tokens: most new tokens of an answer, and of one to the requests.
        fingerprint: of the model's files.
        ends: the tokens that end an answer; lessons teach the first.
        valid_limit: most questions of each part of the valid fold.
        data: fingerprint of the training data.
        start: of the adapter that training goes on from.
        version: of what the folder is prepared with; another one's is not gone on with.
    """

    model: str
    fingerprint: str
    recipe: Recipe
    answer_tokens: int
    kept_tokens: int
    ends: tuple[int, ...]
    valid_limit: int
    data: str
    start: str | None = None
    version: int = VERSION

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        as_json: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return as_json

    @classmethod
    def load(cls, out: Path) -> Plan:
        """The plan of a run's folder."""
        found = json.loads((out / PLAN).read_text(encoding="utf-8"))
        recipe: dict[str, Any] = found["recipe"]
        recipe |= {name: tuple(value) for name, value in recipe.items() if isinstance(value, list)}
        return cls(**{**found, "ends": tuple(found["ends"]), "recipe": Recipe(**recipe)})


def run(model_path: Path, out: Path, device: str | None, progress: Progress) -> None:
    """Answers the requests that keep what the model can do, trains the adapter, and answers the valid fold, with it
    and before. The folder was prepared by `turnout train ... --prepare-only`."""
    with loading.quiet():
        _run(model_path, out, Plan.load(out), pick_device(device), progress)


def _run(model_path: Path, out: Path, plan: Plan, name: str, progress: Progress) -> None:
    model = folder.read(model_path)
    if model.fingerprint != plan.fingerprint:
        raise ModelError(
            f"{out} was prepared for {plan.model}, and {model_path} holds another model", hint="give another --out"
        )
    if not (out / ADAPTER).is_dir():
        # Wrapped first: a model that can't have an adapter is refused at once, and an untrained one changes nothing.
        network = lora.wrap(loading.load(model, name, pick_dtype(name)), plan.recipe, plan.model)
        if not (out / KEPT).is_file():
            _keep(network, out, plan, name, progress)
        if (out / START).is_dir():
            lora.go_on(network, adapter.read(out / START), plan.model)
        _train(network, model, out, plan, name, progress)
    # What is scored is what is used: the adapter in the precision that it is kept in, merged.
    for state, added in (("trained", adapter.read(out / ADAPTER)), ("plain", None)):
        if not (out / f"{state}.json").is_file():
            asked = [sheet.prompt for sheet in TokenisedSheets.load(out / ASKED[state])]
            network = loading.load(model, name, pick_dtype(name), added)
            _answer_into(out / f"{state}.json", network, asked, plan, name, progress)


def _keep(network: Any, out: Path, plan: Plan, device: str, progress: Progress) -> None:
    asked = [sheet.prompt for sheet in TokenisedSheets.load(out / REQUESTS)]
    answers = _answer(network, asked, plan.kept_tokens, plan.ends, device, progress, "keeping")
    whole = (i for i, answer in enumerate(answers) if 0 < len(answer) < plan.kept_tokens)
    TokenisedSheets.of([(asked[i], [*answers[i], plan.ends[0]])] for i in whole).save(out / KEPT)


def _train(network: Any, model: ModelFolder, out: Path, plan: Plan, device: str, progress: Progress) -> None:
    import torch
    import transformers

    lessons = TokenisedSheets.load(out / LESSONS) + TokenisedSheets.load(out / KEPT)
    facts = fitting.fit(
        network,
        lessons,
        plan.recipe,
        out,
        device,
        watched=TokenisedSheets.load(out / WATCHED),
        bf16=pick_dtype(device) == "bfloat16",
        progress=progress,
    )
    facts |= {"device": device_name(device), "torch": torch.__version__, "transformers": transformers.__version__}
    partial = out / f"{ADAPTER}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    lora.save(network, partial)
    card = {
        "name": NAME,
        "base": {"name": plan.model, **adapter.identity(model, network.get_base_model())},
        "sha256": sha256_of(partial / adapter.WEIGHTS),
        "recipe": plan.to_dict()["recipe"],
        "training": facts,
    }
    (partial / adapter.CARD).write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
    partial.rename(out / ADAPTER)


def device_name(device: str) -> str:
    """What the device is, in words."""
    import torch

    return (
        torch.cuda.get_device_name(device) if device.startswith("cuda") else f"cpu, {torch.get_num_threads()} threads"
    )


def _answer_into(
    file: Path, network: Any, asked: Sequence[list[int]], plan: Plan, device: str, progress: Progress
) -> None:
    answers = _answer(network, asked, plan.answer_tokens, plan.ends, device, progress, "scoring")
    partial = file.with_suffix(".partial")
    partial.write_text(json.dumps(answers), encoding="utf-8")
    partial.replace(file)


def _answer(
    network: Any,
    asked: Sequence[list[int]],
    most: int,
    ends: Sequence[int],
    device: str,
    progress: Progress,
    stage: str,
) -> list[list[int]]:
    answers: list[list[int]] = [[] for _ in asked]
    for done, (index, answer) in enumerate(generate(network, asked, most, ends, device), start=1):
        answers[index] = answer
        progress(stage, done, len(asked))
    return answers
