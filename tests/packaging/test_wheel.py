"""The built wheel holds every module of the source tree, and works in an environment of its own."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    # From a copy of what git knows, so that neither build leftovers nor the editable install take part.
    listed = (
        subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            capture_output=True,
            check=True,
        )
        .stdout.decode()
        .split("\0")
    )
    for name in filter(None, listed):
        origin, target = ROOT / name, source / name
        if not origin.exists() and not origin.is_symlink():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        if origin.is_symlink():
            target.symlink_to(origin.readlink())
        else:
            target.write_bytes(origin.read_bytes())
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "-q",
            "--no-deps",
            "--no-build-isolation",
            "-w",
            str(folder),
            str(source),
        ],
        check=True,
    )
    return next(folder.glob("turnout-*.whl"))


def test_wheel_holds_every_module_and_the_data_beside_them(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    areas = ("compression", "engines", "kernels", "retrieval", "router")
    expected = {f"turnout/{p.relative_to(ROOT)}" for area in areas for p in (ROOT / area).rglob("*.py")}
    expected |= {f"turnout/{p.relative_to(ROOT / 'src/turnout')}" for p in (ROOT / "src/turnout").rglob("*.py")}
    expected |= {f"turnout/demo_documents/{p.name}" for p in (ROOT / "src/turnout/demo_documents").glob("*.md")}
    expected |= {f"turnout/question_sets/{p.name}" for p in (ROOT / "benchmarks/sets").glob("*.txt")}
    expected |= {f"turnout/{p.relative_to(ROOT)}" for p in (ROOT / "router").rglob("*.j2")}
    weights = [*(ROOT / "engines/adapters").rglob("*.*"), *(ROOT / "compression/weights").rglob("*.*")]
    expected |= {f"turnout/{p.relative_to(ROOT)}" for p in weights}
    assert expected <= names, sorted(expected - names)
    assert "turnout/py.typed" in names
    readme = zipfile.ZipFile(wheel).read("turnout/demo_documents/README.md").decode()
    assert readme == (ROOT / "README.md").read_text(encoding="utf-8")
    assert not [name for name in names if name.startswith(("router/", "kernels/", "tests/"))]


@pytest.mark.slow
def test_the_base_install_alone_runs_doctor_and_help(wheel: Path, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "env")], check=True)
    python = tmp_path / "env/bin/python"
    subprocess.run([python, "-m", "pip", "install", "-q", str(wheel)], check=True)
    turnout = tmp_path / "env/bin/turnout"
    options = {
        "capture_output": True,
        "text": True,
        "env": {"TURNOUT_HOME": str(tmp_path / "home"), "PATH": "/usr/bin:/bin"},
    }
    assert "ask" in subprocess.run([turnout, "--help"], check=True, **options).stdout
    doctor = subprocess.run([turnout, "doctor"], check=False, **options)
    assert "turnout 0." in doctor.stdout
    assert "turnout[local]" in doctor.stdout
    demo = subprocess.run([turnout, "demo"], check=False, **options)
    assert demo.returncode in (1, 2)
    assert "turnout[local]" in demo.stderr
