"""cli: every command explains itself, errors are one message with the right exit code."""

import errno
import json
import shlex

import pytest

from s3ft_jax import cli
from s3ft_jax.planning import compiled
from s3ft_jax.stages import import_model
from small import ROOT, SMALL

QUICKSTART = f"--config={ROOT / 'configs' / 'quickstart.py'}:task=arithmetic"
OVERRIDES = [f"--config.{override}" for override in SMALL]


def test_help_lists_every_command(capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["--help"])
    assert stopped.value.code == 0
    text = capsys.readouterr().out
    assert all(f"\n    {name} " in text for name in cli.COMMANDS)


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_each_help_has_one_example(name, capsys):
    with pytest.raises(SystemExit):
        cli.main([name, "--help"])
    assert f"Example:\n  s3ft {name} " in capsys.readouterr().out


@pytest.mark.parametrize("name", ["run", "compare", "plan"])
def test_help_says_how_settings_are_changed_and_where_they_are_listed(name, capsys):
    with pytest.raises(SystemExit):
        cli.main([name, "--help"])
    text = capsys.readouterr().out
    for part in ("--config.KEY=VALUE", "--config=FILE.py:A=X,B=Y", "configs/defaults.py", "data=train.jsonl,judge="):
        assert part in text


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_each_example_parses(name):
    arguments = [name, *shlex.split(cli.COMMANDS[name].example)]
    cli.build_parser().parse_args([a for a in arguments if not a.startswith("--config.")])


@pytest.mark.parametrize(
    "arguments, code, message",
    [
        ([f"{QUICKSTART}", "--config.train.learning_rat=1"], 2, "did you mean 'train.learning_rate'"),
        (["--config=nowhere.py"], 2, "nowhere.py: no such file"),
        ([f"{QUICKSTART},taks=1"], 2, "'taks' is not known"),
        ([QUICKSTART, "--config.model.path="], 1, "model.path is empty"),
        ([QUICKSTART, "--config.model.path=no/where/at/all"], 1, "no/where/at/all"),
        ([QUICKSTART, "--config.task.gold_style=odd"], 1, "odd"),
    ],
)
def test_errors_are_one_message_and_no_traceback(arguments, code, message, tmp_path, capsys):
    command = "prepare" if "gold_style" in arguments[-1] else "import"
    assert cli.main([command, f"--workdir={tmp_path}", *arguments]) == code
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ") and message in captured.err
    assert "Traceback" not in captured.err


def test_a_relative_workdir(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["import", QUICKSTART, "--workdir=runs/here"]) == 0
    assert (tmp_path / "runs/here/base/checkpoint.json").exists()


def test_a_stage_alone_names_the_stage_it_needs(tmp_path, capsys):
    assert cli.main(["select", "s3ft", QUICKSTART, f"--workdir={tmp_path}"]) == 1
    assert "has not been run; run `s3ft import` first" in capsys.readouterr().err


def test_show_and_stages_run_alone_in_a_finished_workdir(copied, capsys):
    _, workdir = copied
    assert cli.main(["show", "arithmetic/train/00001", f"--workdir={workdir.path}"]) == 0
    assert "== gold" in capsys.readouterr().out
    for command in (["judge", "own"], ["select", "s3ft"], ["report"]):
        assert cli.main([*command, QUICKSTART, f"--workdir={workdir.path}", *OVERRIDES]) == 0
        assert "already done" in capsys.readouterr().out


def test_a_disk_that_fills_up_anywhere_is_no_traceback(tmp_path, monkeypatch, capsys):
    def full(config, workdir, redo):
        raise OSError(errno.ENOSPC, "No space left on device", "weights.safetensors")

    monkeypatch.setattr(import_model, "run", full)
    assert cli.main(["import", QUICKSTART, f"--workdir={tmp_path}"]) == 1
    assert "error: weights.safetensors: No space left on device. When that is mended" in capsys.readouterr().err


def test_plan_needs_neither_workdir_nor_device(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(compiled, "has_libtpu", lambda: False)
    file = tmp_path / "plan.json"
    assert cli.main(["plan", QUICKSTART, "--topology=v5e:2x2", f"--json={file}"]) == 0
    assert "largest batch" in capsys.readouterr().out and len(json.loads(file.read_text())["programs"]) == 3
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--topology=v5:2x2"], "error: --topology=v5:2x2: no chip 'v5'; did you mean v5"),
        (["--topology=v5e:2x2", "--config.mesh.fsdp=3"], "does not fit 4 devices"),
        (["--topology=v5e:2x2", "--config.model.path=/"], "error: /config.json: missing"),
    ],
)
def test_a_plan_that_cannot_be_made_is_one_message(arguments, message, capsys):
    assert cli.main(["plan", QUICKSTART, *arguments]) == 1
    captured = capsys.readouterr()
    assert message in captured.err and "Traceback" not in captured.err
