"""doctor: a line per check, non-zero when something needed is missing."""

import json
import shutil

import pytest

from s3ft_jax.judges import sandbox
from s3ft_jax.stages import device_memory, doctor
from s3ft_jax.stages.launch import pocket_model_folder
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


HUB_ID = "Qwen/Qwen2.5-1.5B-Instruct"


def told(capsys, workdir, *overrides, code=0, task="arithmetic"):
    assert doctor.run(small_config(*overrides, task=task), workdir) == code
    return {line.split()[1]: line for line in capsys.readouterr().out.splitlines() if line[:8].strip()}


def test_a_hub_id_that_is_not_on_this_disk_is_not_missing(tmp_path, capsys):
    lines = told(capsys, Workdir(str(tmp_path)), f"model.path={HUB_ID}")
    for check in ("tokenizer", "training", "disk"):
        assert lines[check].startswith(f"?        {check}") and "not checked: " in lines[check]
    assert "not on this disk" in lines["tokenizer"] and HUB_ID in lines["tokenizer"]


def test_what_was_imported_is_looked_at_where_it_lies(copied, capsys, monkeypatch):
    _, workdir = copied
    manifest = workdir.manifest("import")
    manifest["settings"]["path"] = HUB_ID
    monkeypatch.setattr(type(workdir), "manifest", lambda self, key: manifest if key == "import" else None)
    lines = told(capsys, workdir, f"model.path={HUB_ID}")
    assert lines["tokenizer"].startswith(f"ok       tokenizer  {HUB_ID}: ") and lines["training"].startswith("ok ")


def test_the_template_of_the_config_is_the_one_that_is_tried(tmp_path, capsys):
    shutil.copytree(pocket_model_folder(), tmp_path / "model")
    file = tmp_path / "model" / "tokenizer_config.json"
    settings = json.loads(file.read_text())
    (tmp_path / "own.jinja").write_text(settings.pop("chat_template"))
    file.write_text(json.dumps(settings))
    where = [f"model.path={tmp_path / 'model'}"]
    lines = told(capsys, Workdir(str(tmp_path / "run")), *where, code=1)
    assert "MISSING  tokenizer" in lines["tokenizer"] and "no chat template" in lines["tokenizer"]
    own = f"model.chat_template={tmp_path / 'own.jinja'}"
    assert told(capsys, Workdir(str(tmp_path / "run")), *where, own)["tokenizer"].startswith("ok ")
    assert "no such file" in told(capsys, None, *where, "model.chat_template=nowhere", code=1)["tokenizer"]


def test_data_and_judges_that_are_not_there_are_found_out(tmp_path, capsys, monkeypatch):
    (tmp_path / "rows.jsonl").write_text('{"question": "1+1?", "answer": "2"}\n')
    (tmp_path / "judge_of_mine.py").write_text("def mine(example, response):\n    return None\n")
    monkeypatch.chdir(tmp_path)
    own, workdir = ["task.name=custom", "judge.name=numbers"], Workdir(str(tmp_path / "run"))
    lines = told(capsys, workdir, *own, "task.data=rows.jsonl", "judge.second=judge_of_mine:mine")
    assert "ok       data       train rows.jsonl" in lines["data"].replace(f"{tmp_path}/", "")
    assert lines["judge"] == "ok       judge      numbers, then judge_of_mine:mine"
    assert "no such file or folder" in told(capsys, workdir, *own, "task.data=none.jsonl", code=1)["data"]
    assert "not checked: owner/name is no file here" in told(capsys, workdir, *own, "task.data=owner/name")["data"]
    for name in ("nubmers", "judge_of_mine:other", "nowhere:mine", ""):
        lines = told(capsys, workdir, *own, "task.data=rows.jsonl", f"judge.name={name}", code=1)
        assert lines["judge"].startswith("MISSING  judge")
    assert "unknown task 'gsm9k'" in told(capsys, workdir, "task.name=gsm9k", code=1)["data"]


def test_memory_is_told_beside_what_the_device_has(walked, tmp_path, capsys, monkeypatch):
    _, workdir = walked
    lines = told(capsys, Workdir(str(tmp_path)))
    assert "about " in lines["training"] and "which does not say what it has" in lines["training"]
    monkeypatch.setattr(device_memory, "limit_of", lambda mesh: 2**20)
    lines = told(capsys, Workdir(str(tmp_path)))
    assert lines["training"].startswith("?") and "which has 1.0 MiB: fits only if" in lines["training"]
    assert "--config.train.activation_dtype=bfloat16" in lines["training"]
    lines = told(capsys, workdir, code=1)
    assert lines["training"].startswith("MISSING  training   OutOfMemory: train ")


def test_a_disk_that_is_too_small_is_found_out(tmp_path, capsys, monkeypatch):
    workdir = Workdir(str(tmp_path))
    lines = told(capsys, workdir)
    assert lines["disk"].startswith("ok ") and "for base, checkpoints and tuned models" in lines["disk"]
    usage = shutil.disk_usage(tmp_path)._replace(free=2**20)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    assert "1.0 MiB free: take another --workdir" in told(capsys, workdir, code=1)["disk"]
    assert "not checked" in told(capsys, None)["disk"]


@pytest.mark.parametrize("path", ["", "no/where/at/all"])
def test_no_model_is_missing_everywhere_it_is_asked_of(path, tmp_path, capsys):
    lines = told(capsys, Workdir(str(tmp_path)), f"model.path={path}", code=1)
    assert all(lines[check].startswith("MISSING ") for check in ("tokenizer", "training", "disk"))


def test_what_is_not_known_is_not_said_to_be_there(tmp_path, capsys):
    assert doctor.run(small_config(f"model.path={HUB_ID}"), Workdir(str(tmp_path))) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "nothing is missing; 3 not known"
