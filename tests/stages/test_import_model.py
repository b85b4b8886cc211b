"""import: a folder in, base/ out; a changed folder is noticed."""

import json
import shutil

import pytest

from s3ft_jax.prompts import PromptEncoder
from s3ft_jax.seals import sealed
from s3ft_jax.stages import import_model
from s3ft_jax.stages.launch import pocket_model_folder
from s3ft_jax.texts import TextEncoder
from s3ft_jax.workdir import SettingsChanged, Workdir, WorkdirError
from small import small_config

QUESTION = [{"role": "user", "content": "Today is Monday?"}]


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


ASKS = "{% if add_generation_prompt and enable_thinking is defined and not enable_thinking %} the{% endif %}"


def test_variables_of_the_template_go_with_the_base_and_its_exports(folder, tmp_path, capsys):
    """Every later stage reads base/tokenizer, benchmarks with another encoder than prompts."""
    from s3ft_jax.stages.launch import load_folder

    values = json.loads((folder / "tokenizer_config.json").read_text())
    plain = PromptEncoder(folder).encode_prompt(QUESTION)
    (folder / "tokenizer_config.json").write_text(
        json.dumps(values | {"chat_template": values["chat_template"] + ASKS})
    )
    config, workdir = small_config(f"model.path={folder}"), Workdir(str(tmp_path / "run"))
    import_model.run(config, workdir)
    kept = workdir / "base/tokenizer"
    asked = PromptEncoder(kept).encode_prompt(QUESTION)
    assert len(asked) == len(plain) + 1 and asked[:-1] == plain
    text = TextEncoder(kept)
    assert tuple(text.encode_inside(text.render(QUESTION, opens_turn=True))) == asked
    assert load_folder(str(folder)).encoder.encode_prompt(QUESTION) == asked, "a folder without a config, too"
    config.model.template_args.enable_thinking = True
    with pytest.raises(SettingsChanged, match=r"template_args\.enable_thinking: false -> true"):
        import_model.run(config, workdir)
    with config.model.template_args.unlocked():
        config.model.template_args.enable_thinkin = 1
    import_model.run(config, workdir, redo=True)
    assert PromptEncoder(kept).encode_prompt(QUESTION) == plain
    assert "model.template_args.enable_thinkin does nothing: the chat template never says" in capsys.readouterr().out


def test_a_base_imported_before_there_were_variables_goes_on(folder, tmp_path):
    config, workdir = small_config(f"model.path={folder}"), Workdir(str(tmp_path / "run"))
    import_model.run(config, workdir)
    manifest = workdir.manifest("import")
    del manifest["settings"]["template_args"]
    workdir.write_bytes("manifests/import.json", sealed(manifest))
    import_model.run(config, workdir)
    config.model.template_args.enable_thinking = True
    with pytest.raises(SettingsChanged, match=r"template_args\.enable_thinking: false -> true"):
        import_model.run(config, workdir)


def test_the_digest_sees_names_sizes_and_bytes(folder):
    before = import_model.folder_digest(folder)
    assert import_model.folder_digest(pocket_model_folder()) == before
    with (folder / "model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"x")
    assert import_model.folder_digest(folder) != before
