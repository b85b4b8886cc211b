"""config: overrides are typed, unknown keys are refused with the nearest, every file in configs/ builds."""

import ast
import pathlib

import pytest

from configs.defaults import defaults
from s3ft_jax.changes import flatten
from s3ft_jax.config import ConfigError, load_config, parse_arg
from small import ROOT

QUICKSTART = str(ROOT / "configs" / "quickstart.py")


def test_overrides_take_the_type_of_the_default():
    config = load_config(
        QUICKSTART,
        [
            "train.learning_rate=1e-5",
            "train.num_steps=7",
            "train.seeds=3,4",
            "methods=sft",
            "judge.unsafe=true",
            "task.columns={'question': 'query'}",
        ],
    )
    assert config.train.learning_rate == 1e-5 and config.train.num_steps == 7
    assert config.train.seeds == (3, 4) and config.methods == ("sft",) and config.judge.unsafe is True
    assert config.task.columns.question == "query"


@pytest.mark.parametrize(
    "override, message",
    [
        ("train.learning_rat=1", r"train\.learning_rat is not a setting; did you mean 'train\.learning_rate'"),
        ("trian.num_steps=1", "did you mean 'train.num_steps'"),
        ("train.num_steps=many", "'many' is not of type int"),
        ("train.seeds=a", "'a' is not of type tuple"),
        ("judge.unsafe=perhaps", "'perhaps' is not of type bool"),
        ("train", "expected --config.key=value"),
    ],
)
def test_a_wrong_override_names_the_cause(override, message):
    with pytest.raises(ConfigError, match=message):
        load_config(QUICKSTART, [override])


def test_keys_of_the_users_own():
    given = ["task.columns.question=query", "task.splits.test=test.jsonl", "train.per_method.sft.learning_rate=3e-4"]
    config = load_config(QUICKSTART, [*given, "train.per_method.sft.num_steps=7"])
    assert config.task.columns.question == "query" and config.task.splits.test == "test.jsonl"
    assert config.train.per_method.sft.to_dict() == {"learning_rate": 3e-4, "num_steps": 7}
    with pytest.raises(ConfigError, match=r"per_method\.sft\.learning_rat is not a setting of train; did you mean"):
        load_config(QUICKSTART, ["train.per_method.sft.learning_rat=1"])
    with pytest.raises(ConfigError, match="'many' is not of type int"):
        load_config(QUICKSTART, ["train.per_method.sft.num_steps=many"])


def test_arguments_of_a_config_file():
    assert load_config(f"{QUICKSTART}:task=reading,seeds=5").train.seeds == (0, 1, 2, 3, 4)
    with pytest.raises(ConfigError, match="'tsak' is not known; did you mean 'task'"):
        load_config(f"{QUICKSTART}:tsak=reading")
    with pytest.raises(ConfigError, match="task=cooking: choose from arithmetic, programs, reading"):
        load_config(f"{QUICKSTART}:task=cooking")
    assert parse_arg("a=2", a=1, b="x").to_dict() == {"a": 2, "b": "x"}
    nested = "b=first(numbers, all(length(1, 200), model)),a=2"
    assert parse_arg(nested, a=1, b="").to_dict() == {"a": 2, "b": "first(numbers, all(length(1, 200), model))"}


def test_a_missing_file_suggests_the_nearest(monkeypatch):
    monkeypatch.chdir(ROOT)
    with pytest.raises(ConfigError, match=r"no such file; did you mean 'configs/quickstart\.py'"):
        load_config("configs/quickstrat.py")


def test_a_setting_for_all_methods_holds_for_all_methods():
    chosen = load_config(QUICKSTART).train.per_method.to_dict()
    assert len(chosen) == 4 and all(set(own) == {"learning_rate", "num_steps"} for own in chosen.values())
    config = load_config(QUICKSTART, ["train.num_steps=7"])
    assert config.train.num_steps == 7
    rates = {method: {"learning_rate": own["learning_rate"]} for method, own in chosen.items()}
    assert config.train.per_method.to_dict() == rates
    epochs = load_config(QUICKSTART, ["train.per_method.sft.num_epochs=1", "train.num_epochs=2"])
    assert epochs.train.num_epochs == 2.0 and epochs.train.per_method.to_dict() == rates, "in the place of steps"
    assert load_config(QUICKSTART, ["train.num_epochs=2", "train.num_steps=7"]).train.num_epochs == 0.0
    later = load_config(QUICKSTART, ["train.num_steps=7", "train.per_method.sft.num_steps=9"])
    assert later.train.per_method.sft.num_steps == 9 and "num_steps" not in later.train.per_method.ssr


@pytest.mark.parametrize("path", sorted(p.name for p in (ROOT / "configs").glob("*.py") if p.stem != "defaults"))
def test_every_config_builds(path):
    arg = ":data=train.jsonl,judge=numbers" if path == "custom.py" else ""
    assert load_config(f"{ROOT / 'configs' / path}{arg}").to_dict()


PAPERS = ("gsm8k", "mbpp", "reading", "unanswerable")


def preset(name, arg, *overrides):
    return load_config(f"{ROOT / 'configs' / name}.py:{arg}", overrides)


@pytest.mark.parametrize("name", PAPERS)
def test_the_papers_model_has_a_short_name_that_sets_what_fits_it(name):
    config = preset(name, "model=mistral-7b-instruct-v0.2")
    assert config.model.path == "mistralai/Mistral-7B-Instruct-v0.2"
    fitting = (config.model.dtype, config.train.activation_dtype, config.train.remat)
    assert fitting == ("bfloat16", "bfloat16", "full")
    assert preset(name, "model=Mistral-7B-Instruct-v0.2").model.path == config.model.path
    assert preset(name, "model=mistral-7b-instruct-v0.2", "model.dtype=float32").model.dtype == "float32"


def test_a_folder_or_hub_id_is_left_as_it_is(tmp_path, monkeypatch):
    """A run that was begun with one must go on: its settings stay."""
    for path in ("mistralai/Mistral-7B-Instruct-v0.2", "somewhere/else"):
        config = preset("gsm8k", f"model={path}")
        assert (config.model.path, config.model.dtype, config.train.remat) == (path, "float32", "none")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mistral-7b-instruct-v0.2").mkdir()
    config = preset("gsm8k", "model=mistral-7b-instruct-v0.2")
    assert (config.model.path, config.model.dtype) == ("mistral-7b-instruct-v0.2", "float32")


@pytest.mark.parametrize("name", PAPERS)
def test_presets_have_general_rows_to_replay_and_say_what_is_ours(name):
    config = preset(name, "model=m")
    assert (config.replay.task, config.replay.data) == ("custom", "databricks/databricks-dolly-15k")
    assert preset(name, "model=m,replay=chats.jsonl").replay.data == "chats.jsonl"
    assert preset(name, "model=m,replay=off").replay.task == "" == preset(name, "model=m,replay=off").replay.data
    assert "this project's" in " ".join(config.report.notes)
    assert config.methods == defaults().methods, "none of which replays: nothing is fetched"


def test_custom_needs_data_and_judge():
    with pytest.raises(ConfigError, match=r"custom\.py:data=train\.jsonl,judge=numbers"):
        load_config(str(ROOT / "configs" / "custom.py"))


READERS = {
    "": ("stages/*.py",),
    "model": ("stages/import_model.py", "chat_templates.py"),
    "mesh": ("sharding.py",),
    "task": ("tasks/*.py", "tasks/pocket/*.py"),
    "general": ("stages/prepare.py",),
    "sample": ("stages/sample.py", "stages/sampler.py"),
    "judge": ("stages/judge.py", "stages/consult.py", "stages/prepare.py"),
    "select": ("stages/select.py",),
    "replay": ("stages/prepare.py", "tasks/*.py", "tasks/pocket/*.py"),
    "train": ("stages/train.py", "stages/method_settings.py", "stages/validate.py", "stages/recipe.py"),
    "benchmark": ("stages/benchmark.py", "harness/settings.py", "harness/run.py"),
    "evaluate": ("stages/evaluate.py", "stages/sample.py", "stages/drift.py"),
    "compare": ("stages/compare.py", "stages/evaluate.py"),
    "export": ("stages/export_model.py",),
    "report": ("stages/report.py", "stages/gather.py", "stages/browse.py"),
}
"""Section of the settings -> the files that may read its keys; a name read elsewhere does not count."""


def names_read(path: pathlib.Path) -> set[str]:
    """Names that ``settings.x``, ``settings["x"]``, ``("x", ...)`` or a parameter ``x`` (for ``**settings``) read."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute):
            found.add(node.attr)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(node.value)
        elif isinstance(node, ast.arg):
            found.add(node.arg)
    return found


def test_every_key_is_read_where_its_section_is_read():
    unread = []
    for key in flatten(defaults().to_dict()):
        section = key.split(".")[0] if "." in key or key in READERS else ""
        files = [path for pattern in READERS[section] for path in (ROOT / "s3ft_jax").glob(pattern)]
        assert files, f"READERS[{section!r}] names no file"
        if not any(key.rsplit(".", 1)[-1] in names_read(path) for path in files):
            unread.append(key)
    assert not unread, f"settings that no stage reads: {unread}"
