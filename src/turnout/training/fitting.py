"""Fits small weights to what is to be learnt with transformers' Trainer; goes on where it was stopped."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from turnout.errors import ConfigurationError
from turnout.progress import Progress
from turnout.training import attention
from turnout.training.loss import answer_loss, collate, figures
from turnout.training.recipe import Recipe
from turnout.training.tokens import TokenisedSheets, batches

CHECKPOINTS = "checkpoints"
CURVE = "curve.jsonl"
MICRO_TOKENS = 4096
"""Tokens that go through the model at once: what its activations leave of the memory, and the same everywhere, so that
a run that was stopped on one device goes on on another."""

SAVES = 20
"""Checkpoints in a run; the last two are kept."""

LOOKS = 6
"""Times that the valid fold is looked at in a run."""


def fit(
    model: Any,
    lessons: TokenisedSheets,
    recipe: Recipe,
    out: Path,
    device: str,
    *,
    watched: TokenisedSheets,
    bf16: bool,
    progress: Progress,
) -> dict[str, Any]:
    """Trains the adapter of `model`; goes on from the last checkpoint in `out` where there is one.

    Args:
        watched: lessons that are not trained on; their figures go into the curve (see `figures`).
        bf16: autocast to bfloat16.

    Returns:
        Steps, sheets, lessons and tokens of the whole run, and its seconds, those before a stop among them.
    """
    attention.use(model.get_base_model())
    micro = min(MICRO_TOKENS, recipe.batch_tokens)
    accumulate = recipe.batch_tokens // micro
    order = list(batches(lessons.lengths, micro, recipe.seed))
    if recipe.steps is not None:
        del order[recipe.steps * accumulate :]
    seen = [index for batch in order for index in batch]
    facts = run(
        model,
        Material(order, collate(lessons), answer_loss),
        Pace(recipe.learning_rate, recipe.warmup, accumulate, recipe.seed),
        out,
        device,
        look=lambda: figures(model, watched, micro),
        bf16=bf16,
        progress=progress,
    )
    return facts | {
        "sheets": len(seen),
        "lessons": sum(lessons[index].lessons for index in seen),
        "tokens": int(lessons.lengths[seen].sum()),
    }


@dataclass(frozen=True, slots=True)
class Material:
    """What is learnt: batches of indices in their order, what makes tensors of one, and the loss of those.

    `loss` takes the model, the tensors, and how much is learnt in the whole step, where it is made of several batches.
    """

    order: list[list[int]]
    collate: Callable[[list[int]], dict[str, Any]]
    loss: Callable[[Any, dict[str, Any], Any], Any]


@dataclass(frozen=True, slots=True)
class Pace:
    """How it is learnt: `accumulate` batches make a step; the rate rises over the first `warmup` of the steps, then
    falls to nothing along a cosine."""

    learning_rate: float
    warmup: float
    accumulate: int
    seed: int


def run(
    model: Any,
    material: Material,
    pace: Pace,
    out: Path,
    device: str,
    *,
    look: Callable[[], dict[str, float]],
    bf16: bool,
    progress: Progress,
) -> dict[str, Any]:
    """Trains what of a model wants a gradient; goes on from the last checkpoint in `out` where there is one.

    Args:
        look: figures of what is not trained on, for the curve; called LOOKS times.
        bf16: autocast to bfloat16.

    Returns:
        Steps of the whole run, and its seconds, those before a stop among them.
    """
    from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

    if device.startswith("cuda:") and device != "cuda:0":
        raise ConfigurationError(f"training runs on the first GPU, not on {device}", hint="set CUDA_VISIBLE_DEVICES")
    steps = -(-len(material.order) // pace.accumulate)
    args = TrainingArguments(
        output_dir=str(out / CHECKPOINTS),
        max_steps=steps,
        gradient_accumulation_steps=pace.accumulate,
        learning_rate=pace.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=max(int(steps * pace.warmup), 1),
        weight_decay=0.0,
        max_grad_norm=1.0,
        bf16=bf16,
        use_cpu=device == "cpu",
        seed=pace.seed,
        logging_steps=min(10, steps),
        save_steps=max(steps // SAVES, 1),
        save_total_limit=2,
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
    )

    class AdapterTrainer(Trainer):
        """Batches by tokens, and logits at learnt positions only."""

        def get_train_dataloader(self) -> Any:
            from torch.utils.data import DataLoader

            every: Any = range(1 + max(map(max, material.order)))
            loader = DataLoader(every, batch_sampler=_Fixed(material.order), collate_fn=material.collate)
            return self.accelerator.prepare(loader)

        def compute_loss(
            self,
            model: Any,
            inputs: dict[str, Any],
            return_outputs: bool = False,
            num_items_in_batch: Any = None,
        ) -> Any:
            # Autocast is put around the model's own forward, which is not what is called here.
            with self.accelerator.autocast():
                return material.loss(model, inputs, num_items_in_batch)

    def spent() -> float:
        return round(before + time.perf_counter() - started, 1)

    class Watch(TrainerCallback):
        """Shows progress and writes the curve."""

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            progress("training", state.global_step, steps)
            if state.global_step % max(steps // LOOKS, 1) == 0 or state.global_step == steps:
                model.eval()
                with trainer.accelerator.autocast():
                    row = {"step": state.global_step, "seconds": spent(), **look()}
                _append(out / CURVE, row)
                model.train()

        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
            if logs and "loss" in logs:
                row = {"step": state.global_step, "seconds": spent(), "loss": logs["loss"]}
                _append(out / CURVE, {**row, "rate": logs["learning_rate"]})

    every: Any = range(1 + max(map(max, material.order)))
    args._n_gpu = min(args.n_gpu, 1)  # several would be wrapped in DataParallel
    trainer = AdapterTrainer(model=model, args=args, train_dataset=every, callbacks=[Watch()])
    trainer.model_accepts_loss_kwargs = True  # the loss is divided by what is learnt in the whole step
    trainer.remove_callback(PrinterCallback)
    last = _last_checkpoint(out / CHECKPOINTS)
    before = _cut_curve(out / CURVE, _step(last) if last else 0)
    started = time.perf_counter()
    trainer.train(resume_from_checkpoint=str(last) if last else None)
    model.eval()
    return {"steps": steps, "seconds": before + time.perf_counter() - started}


class _Fixed:
    """The batches in their order; what has been seen before a stop is skipped by the trainer."""

    def __init__(self, order: list[list[int]]) -> None:
        self._order = order

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self._order)

    def __len__(self) -> int:
        return len(self._order)


def _last_checkpoint(folder: Path) -> Path | None:
    """The newest whole one: the trainer's state is what is written last."""
    whole = [file.parent for file in folder.glob("checkpoint-*/trainer_state.json")]
    return max(whole, key=_step, default=None)


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


def _cut_curve(file: Path, step: int) -> float:
    """Takes out what was written after the checkpoint that training goes on from; returns the seconds until there."""
    if not file.is_file():
        return 0.0
    rows = []
    for line in file.read_text(encoding="utf-8").splitlines():
        with contextlib.suppress(ValueError):  # the last line may be torn
            rows.append(json.loads(line))
    kept = [row for row in rows if row["step"] <= step]
    file.write_text("".join(f"{json.dumps(row)}\n" for row in kept), encoding="utf-8")
    return max((float(row["seconds"]) for row in kept), default=0.0)


def _append(file: Path, row: dict[str, Any]) -> None:
    with file.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(row) + "\n")
