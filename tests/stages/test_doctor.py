"""doctor: a line per check, non-zero when something needed is missing."""

from s3ft_jax.judges import sandbox
from s3ft_jax.stages import doctor
from s3ft_jax.workdir import Workdir
from small import small_config


def no_sandbox():
    raise sandbox.SandboxUnavailable("neither bubblewrap nor Landlock; install bubblewrap")


def test_all_is_well_here(tmp_path, capsys):
    assert doctor.run(small_config(), Workdir(str(tmp_path))) == 0
    text = capsys.readouterr().out
    for part in ("python", "packages", "devices", "memory", "sandbox", "tokenizer", "workdir", "all that is needed"):
        assert part in text


def test_a_missing_sandbox_matters_only_where_programs_are_judged(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(sandbox, "probe", no_sandbox)
    assert doctor.run(small_config(task="arithmetic"), Workdir(str(tmp_path))) == 0
    assert doctor.run(small_config(task="programs"), Workdir(str(tmp_path))) == 1
    assert "MISSING  sandbox" in capsys.readouterr().out


def test_a_missing_model_is_reported_and_the_other_checks_still_run(tmp_path, capsys):
    assert doctor.run(small_config(f"model.path={tmp_path / 'nowhere'}"), Workdir(str(tmp_path))) == 1
    text = capsys.readouterr().out
    assert "MISSING  tokenizer" in text and "ok       workdir" in text
