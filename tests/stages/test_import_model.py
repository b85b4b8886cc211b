"""import: a folder in, base/ out; a changed folder is noticed."""

import json
import shutil

import pytest

from s3ft_jax.stages import import_model
from s3ft_jax.stages.launch import pocket_model_folder
from s3ft_jax.workdir import SettingsChanged, Workdir, WorkdirError
from small import small_config


@pytest.fixture
def folder(tmp_path):
    shutil.copytree(pocket_model_folder(), tmp_path / "model")
    return tmp_path / "model"


def test_any_folder_is_imported_by_the_same_path_as_the_shipped_model(folder, tmp_path, walked):
    workdir = Workdir(str(tmp_path / "run"))
    import_model.run(small_config(f"model.path={folder}"), workdir)
    assert workdir.manifest("import")["outputs"]["base"] == walked[1].manifest("import")["outputs"]["base"]
    assert workdir.manifest("import")["facts"]["parameters"] == 1_136_000


def test_a_changed_model_stops_with_what_changed(folder, tmp_path):
    config, workdir = small_config(f"model.path={folder}"), Workdir(str(tmp_path / "run"))
    import_model.run(config, workdir)
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(values | {"rope_theta": 20000.0}))
    with pytest.raises(SettingsChanged, match="input model: "):
        import_model.run(config, workdir)


def test_no_model_and_no_template_are_named(tmp_path):
    with pytest.raises(WorkdirError, match=r"model\.path is empty"):
        import_model.run(small_config("model.path="), Workdir(str(tmp_path)))
    with pytest.raises(WorkdirError, match=r"model\.chat_template: no such file"):
        import_model.run(small_config("model.chat_template=nowhere.jinja"), Workdir(str(tmp_path)))


def test_the_digest_sees_names_sizes_and_bytes(folder):
    before = import_model.folder_digest(folder)
    assert import_model.folder_digest(pocket_model_folder()) == before
    with (folder / "model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"x")
    assert import_model.folder_digest(folder) != before
