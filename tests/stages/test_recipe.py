"""recipe: what is done is skipped, changed settings stop, methods are checked."""

import pytest

from s3ft_jax.stages import recipe
from s3ft_jax.workdir import SettingsChanged, Workdir, WorkdirError, files_below
from small import small_config


def contents(workdir):
    return {str(path.relative_to(workdir.path)): path.read_bytes() for path in files_below(workdir.path)}


def test_a_second_run_does_nothing(copied, capsys):
    config, workdir = copied
    before = contents(workdir)
    recipe.run(config, workdir)
    assert contents(workdir) == before
    text = capsys.readouterr().out
    assert text.count("already done") == 5 + 2 + 4 + 1 + 8
    assert text.strip().splitlines()[-1].endswith("report.html")


def test_changed_settings_stop_at_the_stage_they_change(copied):
    _, workdir = copied
    with pytest.raises(SettingsChanged, match=r"stage sample-own was done.*\n.*temperature: 0\.7 -> 0\.9"):
        recipe.run(small_config("sample.temperature=0.9"), workdir)


def test_redo_throws_away_what_changed_and_what_follows(copied):
    _, workdir = copied
    before = contents(workdir)
    recipe.run(small_config("train.learning_rate=0.002"), workdir, redo=True)
    after = contents(workdir)
    assert after["selections/s3ft.jsonl"] == before["selections/s3ft.jsonl"]
    assert after["manifests/train-s3ft-seed-0.json"] != before["manifests/train-s3ft-seed-0.json"]


def test_methods_are_checked_first(tmp_path):
    with pytest.raises(WorkdirError, match=r"\['s3tf'\]; choose from sft"):
        recipe.run(small_config("methods=s3tf"), Workdir(str(tmp_path)))


def test_only_what_the_methods_need_is_sampled():
    assert recipe.origins_wanted(("sft",)) == []
    assert recipe.origins_wanted(("sft", "ssr")) == ["own"]
    assert recipe.origins_wanted(("sdft",)) == ["paraphrase"]
    assert recipe.origins_wanted(("s3ft",)) == ["own", "paraphrase"]
