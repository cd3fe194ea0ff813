"""`turnout add`, `ls`, `rm`, `show`: the library of documents."""

from __future__ import annotations

import json
from typing import Any

import click

from turnout.cli.bars import Bars

_IN = click.option(
    "--in",
    "collection",
    metavar="NAME",
    default="library",
    show_default=True,
    help="The collection (docs/collections.md).",
)
_ANYWHERE = click.option(
    "--in", "collection", metavar="NAME", help="Only in this collection; wherever it is by default."
)
_HOME = click.option("--home", metavar="DIR", help="Data directory (TURNOUT_HOME).")


@click.command()
@click.argument("paths", nargs=-1, required=True)
@click.option("--max-file-mb", type=float, metavar="MB", help="Largest file to read (TURNOUT_MAX_FILE_MB).")
@click.option("--json", "as_json", is_flag=True, help="Print what was added and what failed as JSON.")
@_IN
@_HOME
def add(paths: tuple[str, ...], as_json: bool, collection: str, **options: Any) -> int:
    """Read PATHS (files, folders, globs, - for standard input) into the library, or into another collection.

    Unchanged documents cost nothing; a changed one replaces only its changed segments. One that can't be read is
    reported, the others go on; exit code 1 then.
    """
    from turnout.client import Turnout
    from turnout.inputs import with_stdin

    with Bars() as bars, Turnout(progress=bars, **options) as t:
        added = t.add(*with_stdin(paths), collection=collection)
    counts: dict[str, int] = {}
    for status in added.status.values():
        counts[status] = counts.get(status, 0) + 1
    if as_json:
        click.echo(
            json.dumps(
                {
                    "documents": [
                        {"id": d.id, "title": d.title, "source": d.source, "status": added.status[d.id]}
                        for d in added.documents
                    ],
                    "failed": [{"path": f.path, "reason": f.reason, "hint": f.hint} for f in added.failed],
                    "skipped": added.skipped,
                },
                indent=2,
                ensure_ascii=False,
            )
        )
    else:
        click.echo(", ".join(f"{count} {status}" for status, count in counts.items()) or "nothing to add")
        for reason, count in sorted(added.skipped.items()):
            click.echo(f"skipped {count}: {reason}", err=True)
        for document in added.documents:
            for note in document.notes:
                click.echo(f"note: {document.title}: {note}", err=True)
        for failure in added.failed:
            click.secho(f"failed {failure.path}: {failure.reason}", fg="red", err=True)
            if failure.hint:
                click.echo(f"       {failure.hint}", err=True)
    return 1 if added.failed else 0


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object per document.")
@click.option("--collections", is_flag=True, help="List the collections instead.")
@_IN
@_HOME
def ls(as_json: bool, collections: bool, collection: str, **options: Any) -> int:
    """List the documents of the library, or of another collection."""
    from turnout.client import Turnout

    with Turnout(**options) as t:
        if collections:
            return _collections(t.collections(), as_json)
        rows = t.listing(collection)
    for row in rows:
        if as_json:
            click.echo(json.dumps(row, ensure_ascii=False))
        else:
            pages = f"{row['pages']} pages, " if row["pages"] else ""
            click.echo(
                f"{row['document_id'][:8]}  {row['title']}  {pages}about {row['tokens_estimate']:,} tokens,"
                f" {row['segments']} segments  {row['source']}"
            )
    if not rows and not as_json:
        empty = "the library is empty" if collection == "library" else f"the collection {collection!r} is empty"
        click.echo(f"{empty}: turnout add PATHS...", err=True)
    return 0


def _collections(found: list[dict[str, Any]], as_json: bool) -> int:
    for each in found:
        kept = "kept apart" if each["apart"] else "shared"
        click.echo(json.dumps(each) if as_json else f"{each['name']}  {each['documents']} documents, {kept}")
    return 0


@click.command()
@click.argument("documents", nargs=-1, required=True)
@_ANYWHERE
@_HOME
def rm(documents: tuple[str, ...], collection: str | None, **options: Any) -> int:
    """Remove DOCUMENTS (id, title or source) and all that derives from them: text, vectors, quotes in the ledger."""
    from turnout.client import Turnout

    with Turnout(**options) as t:
        for document in t.remove(*documents, collection=collection):
            click.echo(f"removed {document.title}  {document.id[:8]}")
    return 0


@click.command()
@click.argument("document")
@click.option("--segments", is_flag=True, help="Show where each segment begins and ends, and its identity.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@_ANYWHERE
@_HOME
def show(document: str, segments: bool, as_json: bool, collection: str | None, **options: Any) -> int:
    """Show one DOCUMENT (id, title or source): its figures, and its segments or its text."""
    from turnout.client import Turnout

    with Turnout(**options) as t:
        found = t.show(document, collection)
    if as_json:
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return 0
    click.echo(f"{found['title']}  {found['kind']}  {found['id']}\n{found['source']}", err=True)
    for note in found["notes"]:
        click.echo(f"note: {note}", err=True)
    if not segments:
        click.echo(found["text"])
        return 0
    for segment in found["segments"]:
        click.echo(
            f"{segment['hash'][:12]}  {segment['place']}  {segment['start']}-{segment['end']}"
            f"  about {segment['tokens_estimate']} tokens  {segment['opening']}"
        )
    return 0
