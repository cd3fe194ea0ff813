"""Importing is light, and imports go one way: types, kernels, engines, retrieval, router, and the doors last."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = {
    "torch",
    "faiss",
    "transformers",
    "sentence_transformers",
    "redis",
    "sqlalchemy",
    "openai",
    "langchain_core",
    "numpy",
}
BASE = {"documents", "types", "errors", "config", "contracts", "progress", "record"}
FACADE = BASE | {"caches", "calibrate", "client", "evaluate", "inputs", "system", "train", "cli"}

# area -> areas of ours that it may import
ALLOWED = {
    "documents": set(),
    "types": {"documents"},
    "errors": set(),
    "config": {"errors"},
    "progress": {"errors"},
    "record": {"documents", "types"},
    "asking": {"documents", "types"},
    "awaiting": {"errors", "inputs", "types"},
    "checks": {"asking", "config", "errors", "types"},
    "entries": BASE | {"checks", "retrieval"},
    "inputs": BASE | {"checks", "retrieval"},
    "job": {"errors", "record", "types"},
    "background": {"errors", "turn"},
    "measuring": BASE | {"background", "inputs", "router"},
    "many": BASE | {"asking", "in_thread", "inputs", "job"},
    "search": BASE | {"asking", "retrieval"},
    "shelf": BASE | {"asking", "entries", "inputs", "search", "softening"},
    "softening": BASE | {"compression"},
    "caches": BASE | {"client", "compression"},
    "sentences": set(),
    "migrations": set(),
    "database": {"config", "errors", "migrations"},
    "kernels": {"errors", "kernels"},
    "engines": BASE | {"sentences", "kernels", "engines", "hardware"},
    "retrieval": BASE | {"sentences", "database", "retrieval", "hardware"},
    "compression": BASE | {"sentences", "database", "compression", "retrieval", "hardware"},
    "training": BASE | {"sentences", "engines", "retrieval", "compression", "router", "training"},
    "cli": FACADE | {"server", "tokens"},
    "server": FACADE | {"asking", "server", "tokens"},
    "tokens": BASE | {"database"},
    "langchain": BASE | {"asking", "client", "entries", "inputs", "langchain"},
}


@pytest.mark.parametrize(
    "module", ["turnout", "turnout.types", "turnout.client", "turnout.cli.main", "turnout.cli.ask"]
)
def test_import_loads_nothing_heavy(module: str) -> None:
    script = f"import sys, {module}; print(*sorted(m.split('.')[0] for m in sys.modules))"
    loaded = set(run(script).split())
    assert not loaded & HEAVY


def test_import_opens_no_file_and_no_socket() -> None:
    script = """
import sys, socket
def refuse(event, args):
    if event in ("socket.connect", "socket.bind") or (event == "open" and args[1] and set(args[1]) & set("wax+")):
        raise RuntimeError(f"{event} {args}")
sys.dont_write_bytecode = True
sys.addaudithook(refuse)
import turnout
turnout.Turnout, turnout.Budget, turnout.Answer
turnout.Turnout(model="http://localhost:1/v1")
print("fine")
"""
    assert run(script).strip() == "fine"


@pytest.mark.parametrize("path", sorted((ROOT / "src/turnout").rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_package_root_imports_go_one_way(path: Path) -> None:
    check(path, path.relative_to(ROOT / "src/turnout"))


@pytest.mark.parametrize("area", ["kernels", "engines", "retrieval", "compression"])
def test_area_imports_go_one_way(area: str) -> None:
    for path in (ROOT / area).rglob("*.py"):
        check(path, path.relative_to(ROOT))


def check(path: Path, relative: Path) -> None:
    area = relative.parts[0].removesuffix(".py")
    if area not in ALLOWED:
        return
    for name in imported(path):
        assert name in ALLOWED[area], f"{relative} imports turnout.{name}"


def imported(path: Path) -> set[str]:
    """Areas of ours that a file imports, wherever in it; what only a type checker sees does not count."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    names: list[str] = []
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module] if node.module != "turnout" else [f"turnout.{a.name}" for a in node.names]
    return {name.split(".")[1] for name in names if name.startswith("turnout.")} - {"__version__"}


def run(script: str) -> str:
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
