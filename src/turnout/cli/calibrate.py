"""`turnout calibrate`: measure a model once, so that later decisions rest on it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import click

from turnout.cli.bars import Bars
from turnout.cli.options import model_options

ALL = "all"


@click.group()
def calibrate() -> None:
    """Measure a model, so that decisions rest on what it can do."""


def _sizes(ctx: click.Context, param: click.Parameter, value: str) -> tuple[int, ...]:
    """Whole numbers with commas between them."""
    try:
        sizes = tuple(int(size) for size in value.split(",")) if value else ()
    except ValueError as error:
        raise click.BadParameter(f"{value!r} is not a list such as 256,512,1024", ctx, param) from error
    if any(size < 1 for size in sizes):
        raise click.BadParameter(f"{value!r} has a size below 1", ctx, param)
    return sizes


@calibrate.command()
@click.option("--texts", metavar="PATH", help="Filler: .jsonl(.gz) with a text field, a text file, or a folder.")
@click.option("--kinds", default=ALL, show_default=True, metavar="A,B", help="needle, multi, aggregation, comparison.")
@click.option(
    "--sizes",
    callback=_sizes,
    default="",
    metavar="N,N,...",
    help="Document tokens; by default 256, 512, ... and last the largest that fits.",
)
@click.option(
    "--max-size",
    type=click.IntRange(256),
    metavar="N",
    help="Largest size; by default 8192, or what the window has room for beside question and answer.",
)
@click.option("--documents", type=click.IntRange(2), default=10, show_default=True, help="For each size and seed.")
@click.option("--questions", type=click.IntRange(1, 8), default=5, show_default=True, help="A document and kind.")
@click.option("--seeds", type=click.IntRange(1), default=3, show_default=True, help="How often all is drawn anew.")
@click.option("--seed", type=int, default=1, show_default=True, help="The first seed.")
@click.option(
    "--state",
    metavar="FILE",
    help="Keeps answers, so that the same command goes on after a stop; in the data directory by default.",
)
@click.option("--replace", is_flag=True, help="Put the result in the place of a larger calibration too.")
@click.option("--json", "as_json", is_flag=True, help="Print the calibration as JSON.")
@model_options
def window(kinds: str, as_json: bool, **options: Any) -> int:
    """Measure how much text the model still uses well, by kind of task, and keep it in its profile.

    Asks questions with known answers on synthetic documents of growing size. The maximum effective context window
    (MECW) of a kind is the largest size before accuracy falls measurably below that at the smallest size; for multi,
    where three numbers are asked, before the mean share of them that is right falls.
    """
    from turnout import calibrate as facade

    names = facade.ALL_KINDS if kinds == ALL else tuple(name.strip() for name in kinds.split(",") if name.strip())
    with Bars() as bars:
        found = facade.window(kinds=names, progress=bars, on_plan=_show_plan, **options)
    click.echo(json.dumps(found) if as_json else "\n".join(_table(found)))
    if not as_json:
        click.echo(f"saved in {found['saved']}, in the profile of {found['model']}", err=True)
    return 0


@calibrate.command()
@click.option("--max-tokens", type=click.IntRange(512), metavar="N", help="Longest prompt; the window by default.")
@click.option("--repeats", type=click.IntRange(1), default=3, show_default=True, help="How often all is measured.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@model_options
def cost(as_json: bool, **options: Any) -> int:
    """Measure what reading and writing takes over the whole window, and keep it in the model's profile.

    The first use of a local model measures it for two seconds, and a server never: this does it longer. A server is
    asked prompts of made-up words, which count where tokens are paid for.
    """
    from turnout import calibrate as facade

    with Bars() as bars:
        found = facade.cost(progress=bars, **options)
    click.echo(json.dumps(found) if as_json else "\n".join(_cost_lines(found)))
    if not as_json:
        click.echo(f"saved in {found['saved']}, in the profile of {found['model']}", err=True)
    return 0


def _cost_lines(found: Mapping[str, Any]) -> list[str]:
    """Measured beside fitted seconds: prompts by length, then one new token by context."""
    lines = [f"{'prompt tokens':>14}{'seconds':>10}{'fitted':>10}{'tokens/s':>10}"]
    for row in found["prefill"]:
        rate = row["tokens"] / row["seconds"]
        lines.append(f"{row['tokens']:>14,}{row['seconds']:>10.2f}{row['fitted']:>10.2f}{rate:>10,.0f}")
    lines.append(f"{'context':>14}{'s/token':>10}{'fitted':>10}{'tokens/s':>10}")
    for row in found["decode"]:
        lines.append(f"{row['context']:>14,}{row['seconds']:>10.4f}{row['fitted']:>10.4f}{1 / row['seconds']:>10,.1f}")
    off = found["off"]
    lines.append(f"measured over fitted: median {off['p50']:.2f}, p10-p90 {off['p10']:.2f}-{off['p90']:.2f}")
    return lines


@calibrate.command()
@click.option("--questions", "-q", multiple=True, metavar="PATH", help="File or folder, .jsonl or .jsonl.gz.")
@click.option("--documents", "-d", multiple=True, metavar="PATH", help="Documents, likewise.")
@click.option("--run", metavar="DIR", help="The evaluation run; it goes on, or with no --questions is taken as it is.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Questions per dataset, core ones first.")
@click.option("--set", "question_set", metavar="NAME|FILE", help="dev300, dev150, lara90, or a file of ids.")
@click.option("--seed", type=int, default=0, show_default=True, help="Draws the questions of --limit.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@model_options
def quality(as_json: bool, **options: Any) -> int:
    """Learn from questions with known answers what each strategy scores, and keep it in the model's profile.

    Runs full and rag over the questions, corrects the shipped prior by what they scored, and reports what that is worth
    on documents that it was not fitted on. So it does with the support of answers, which says when another strategy is
    asked.
    """
    from turnout import calibrate as facade

    with Bars() as bars:
        found = facade.quality(progress=bars, **options)
    click.echo(json.dumps(found) if as_json else "\n".join(_quality_lines(found)))
    if not as_json:
        click.echo(f"saved in {found['saved']}, in the profile of {found['model']}", err=True)
    return 0


def _quality_lines(found: Mapping[str, Any]) -> list[str]:
    """Policies on documents that were left out, then how reliable the estimates are, then the gains by kind."""
    lines = [
        f"{found['model']}  {found['questions']} questions  {found['datasets']} sets  {found['documents']} documents",
        f"{'':12}{'score [95%]':24}{'s/question':>12}{'full':>8}",
    ]
    if found["labelled"]:
        lines.insert(1, f"{found['labelled']} rows are scored by the verdicts of turnout eval label")
    for name, policy in found["policies"].items():
        score = policy["score"]
        shown = f"{score['mean']:.3f} [{score['low']:.3f}, {score['high']:.3f}]"
        lines.append(f"{name:12}{shown:24}{policy['total_s']:>12.1f}{policy['full_share']:>8.0%}")
    apart = found["difference"]
    lines.append(
        f"router against {found['best_single']}: {apart['mean']:+.3f} [{apart['low']:+.3f}, {apart['high']:+.3f}]"
        "  (each question without its document; prior is the shipped one)"
    )
    for name, bins in found["reliability"].items():
        pairs = ", ".join(f"{each['predicted']:.2f}/{each['scored']:.2f}" for each in bins)
        lines.append(f"reliability {name}: predicted/scored {pairs}")
    for strategy in dict.fromkeys(gain["strategy"] for gain in found["gains"]):
        kinds = [gain for gain in found["gains"] if gain["strategy"] == strategy]
        told = ", ".join(f"{g['kind']} {g['gain']:+.2f} [{g['low']:+.2f}, {g['high']:+.2f}]" for g in kinds)
        lines.append(f"{strategy} over rag: {told}")
    return [*lines, *_support_lines(found["support"])]


def _support_lines(found: Mapping[str, Any]) -> list[str]:
    """What is known of support, and whether another strategy is asked by default."""
    lines = [
        f"support: {count:,} rows of {name} do not hold its signals: run them again for a calibration of it"
        for name, count in found["lacking"].items()
    ]
    if not found["is_saved"]:
        few = f"{found['questions']} questions over {found['documents']} documents"
        return [*lines, f"support: not calibrated, {few} hold its signals"]
    gain, keep_from = found["gain"], found["keep_from"]
    pairs = ", ".join(f"{each['predicted']:.2f}/{each['right']:.2f}" for each in found["reliability"])
    default = "off by default" if keep_from is None else f"outcomes are kept from {keep_from:.2f} on"
    return [
        *lines,
        f"support of {found['questions']} questions: predicted/right {pairs}",
        f"asking another strategy: {gain['mean']:+.3f} [{gain['low']:+.3f}, {gain['high']:+.3f}], "
        f"{found['seconds']:+.1f} s/question, {default}",
    ]


@calibrate.command()
@click.option("--texts", metavar="PATH", help="Filler: .jsonl(.gz) with a text field, a text file, or a folder.")
@click.option("--max-tokens", type=click.IntRange(1), metavar="N", help="Longest prompt; by default 16 chunks.")
@click.option("--min-recall", type=float, metavar="SHARE", help="Of the dense softmax, kept at least; 0.95 by default.")
@click.option("--prompts", type=click.IntRange(1), default=2, show_default=True, help="How many are measured.")
@click.option("--repeats", type=click.IntRange(1), default=2, show_default=True, help="How often a chunk is timed.")
@click.option("--seed", type=int, default=1, show_default=True, help="Draws the prompts.")
@click.option("--report", is_flag=True, help="Show every policy at every length.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@model_options
def attention(as_json: bool, report: bool, **options: Any) -> int:
    """Measure which sparse attention reads long prompts faster than dense attention, and let the engine use it there.

    Between two lengths a policy is taken that kept enough of the dense softmax and was faster at both; elsewhere, and
    beyond the longest prompt, prompts are read densely. Time is that of attention alone.
    """
    from turnout import calibrate as facade

    with Bars() as bars:
        found = facade.attention(progress=bars, **options)
    click.echo(json.dumps(found) if as_json else "\n".join(_attention_lines(found, report)))
    if not as_json:
        click.echo(f"saved in {found['saved']}", err=True)
        if found["policy"]["bands"]:
            click.echo("note: the model reads otherwise now: measure its cost, window and quality anew", err=True)
    return 0


def _attention_lines(found: Mapping[str, Any], report: bool) -> list[str]:
    """What is read how, by the tokens before a chunk; before it, if wanted, all that was measured."""
    lines = [f"{found['model']}  chunks of {found['chunk']:,}  recall of at least {found['min_recall']:g}"]
    columns = f"{'recall':>9}{'worst':>8}{'density':>9}{'speed-up':>10}"
    for point in found["points"] if report else ():
        lines.append(f"{point['tokens']:,} tokens, dense {point['dense_s']:.3f} s".ljust(34) + columns)
        lines += [f"  {row['name']:32}{_kept(row)}" for row in point["policies"]]
    if report:
        new = found["decode"]
        lines.append(f"{new['steps']} new tokens after {new['tokens']:,}".ljust(34) + columns)
        lines += [f"  {row['name']:32}{_kept(row)}" for row in new["policies"]]
    lines.append(f"{'tokens before':34}{columns}")
    for band in found["bands"]:
        place = f"{band['start']:,} to {band['end']:,}"
        lines.append(f"{place:18}{band['policy']:16}{_kept(band) if 'recall' in band else ''}".rstrip())
    if not found["policy"]["bands"]:
        lines.append("no policy kept enough and was faster: prompts are read densely")
    return lines


def _kept(row: Mapping[str, Any]) -> str:
    return f"{row['recall']:>9.3f}{row['worst_recall']:>8.3f}{row['density']:>9.3f}{row['speedup']:>9.2f}x"


def _show_plan(plan: Mapping[str, Any]) -> None:
    seconds = plan["seconds"]
    takes = "time unknown" if seconds is None else f"about {_duration(seconds)}"
    sizes = ", ".join(f"{size:,}" for size in plan["sizes"])
    kept = f" ({plan['kept']:,} more are answered)" if plan["kept"] else ""
    click.echo(f"{plan['prompts']:,} prompts{kept}, {plan['prompt_tokens']:,} tokens, {takes}  sizes {sizes}", err=True)
    click.echo(f"answers are kept in {plan['state']}", err=True)
    if plan["texts_end"]:
        click.echo("note: the default texts end here; give longer ones with --texts for larger sizes", err=True)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _table(found: Mapping[str, Any]) -> list[str]:
    """For each kind MECW and score by size, then its phrasings and seeds; last what the marks mean."""
    first = found["kinds"][0]  # one call measures all kinds in one way
    sizes, seeds = first["sizes"], first["seeds"]
    documents = len(seeds) * first["documents"]
    few = f"  few documents ({documents})" if first["few_documents"] else ""
    lines = [
        f"{found['model']}  window {found['window']:,}  {documents * first['questions']} trials a kind and size{few}",
        f"{'':18}{'MECW [range]':24}" + "".join(f"{size:>8,}" for size in sizes),
    ]
    for kind in found["kinds"]:
        lines += _kind_lines(kind)
    if any(kind["kind"] == "multi" for kind in found["kinds"]):
        lines.append("multi: mean share of the three numbers that is right; below it, all three")
    if any(kind["is_largest"] for kind in found["kinds"]):
        lines.append("+ no fall was found up to the largest size")
    lines.append("range: the middle 95% of the MECW found on documents drawn anew from these")
    return lines


def _kind_lines(kind: Mapping[str, Any]) -> list[str]:
    points = {(point["phrasing"], point["size"]): point for point in kind["curve"]}

    def line(label: str, shown: str, phrasing: str, figure: str = "score") -> str:
        at = [points.get((phrasing, size)) for size in kind["sizes"]]
        return f"{label:18}{shown:24}" + "".join(f"{'-':>8}" if p is None else f"{p[figure]:>8.2f}" for p in at)

    lines = [line(kind["kind"], _mecw(kind), "all")]
    if kind["kind"] == "multi":
        lines.append(line("  all right", "", "all", "accuracy"))
    lines += [line(f"  {name}", _tokens(alone), name) for name, alone in kind["per_phrasing"].items()]
    alone = zip(kind["seeds"], kind["per_seed"], strict=True)
    lines.append("  by seed         " + ", ".join(f"{seed}: {_tokens(mecw)}" for seed, mecw in alone))
    return [*lines, f"  {kind['reason']}"] if kind["reason"] else lines


def _tokens(mecw: int | None) -> str:
    return "-" if mecw is None else f"{mecw:,}"


def _mecw(kind: Mapping[str, Any]) -> str:
    if kind["mecw"] is None:
        return "not measurable"
    more = "+" if kind["is_largest"] else ""
    return f"{kind['mecw']:,}{more} [{kind['low']:,}, {kind['high']:,}]"
