"""The judging model: an endpoint, a folder or the base; what its verdicts are kept under; canaries that stop a run."""

import dataclasses

import pytest

from s3ft_jax.judges.verdicts import JudgeError
from s3ft_jax.records import Example, Response
from s3ft_jax.stages import consult, judge, launch, recipe
from s3ft_jax.workdir import Workdir, WorkdirError
from small import small_config

EXAMPLES = [
    Example(f"t/train/{n}", "t", "train", ({"role": "user", "content": "capital?"},), gold, "numbers", {"answer": n})
    for n, gold in enumerate(["Oslo", "Rome", "Bern"])
]


def fair(self, prompts):
    """An endpoint's replies: same where both answers end in the same word."""
    lasts = [[part.split()[-1] for part in prompt.split("\n\n")[2:4]] for prompt in prompts]
    return [f"Verdict: {'same' if first == second else 'different'}" for first, second in lasts]


def config(*overrides):
    endpoint = ("judge.model.endpoint=http://localhost:1/v1", "judge.model.name=m")
    return small_config("judge.name=first(numbers, model)", *endpoint, *overrides)


def test_rule_then_model(monkeypatch, tmp_path):
    """What the rule cannot decide, for gold is no number, the model does; its verdicts are kept."""
    monkeypatch.setattr(consult.Chat, "__call__", fair)
    examples = [dataclasses.replace(e, check={"answer": "x^2"}) for e in EXAMPLES[:2]] + EXAMPLES[2:]
    responses = [
        Response(e.id, "own", 0, text, (1,), (2, 3), True, -1.0)
        for e, text in zip(examples, ["It is Oslo", "It is Oslo", "2"], strict=True)
    ]
    verdicts = judge.judge_responses(config(), Workdir(str(tmp_path)), examples, responses, "judge")
    decided = [(v.outcome, v.reason.rpartition(" ")[2]) for v in verdicts]
    assert decided == [("right", "[model]"), ("wrong", "[model]"), ("right", "[numbers]")]
    (kept,) = (tmp_path / "cache" / "verdicts").iterdir()
    assert len(kept.read_text().splitlines()) == 2


def test_another_model_wording_or_length_is_another_version(tmp_path):
    wording = "judge.model.prompt={question}{first_name}{first}{second_name}{second}?"
    changes = [(), ("judge.model.name=n",), ("judge.model.max_new_tokens=9",), (wording,)]
    opened = [consult.open_consultant(config(*change), Workdir(str(tmp_path))) for change in changes]
    assert len({consultant.version for consultant in opened}) == len(changes)
    assert opened[0].title == "m at http://localhost:1/v1"


def test_settings_that_contradict_each_other(tmp_path):
    workdir = Workdir(str(tmp_path))
    with pytest.raises(WorkdirError, match=r"judge\.model: endpoint and path are both set"):
        consult.open_consultant(config("judge.model.path=somewhere"), workdir)
    with pytest.raises(WorkdirError, match=r"judge\.model\.name is empty"):
        consult.open_consultant(config("judge.model.name="), workdir)
    with pytest.raises(JudgeError, match=r"judge\.model\.prompt"):
        consult.open_consultant(config("judge.model.prompt=same?"), workdir)


def test_failing_canaries_stop_the_recipe_before_sampling(monkeypatch, tmp_path):
    monkeypatch.setattr(consult.Chat, "__call__", lambda self, prompts: ["Verdict: same"] * len(prompts))
    with pytest.raises(JudgeError, match="the model fails its canaries"):
        recipe.run(config(), Workdir(str(tmp_path)))
    assert (tmp_path / "examples").exists() and not (tmp_path / "responses").exists()


def test_the_model_being_tuned_or_a_folder_is_asked_by_our_engine(walked):
    """The pocket model has never seen such a question; what counts is that each prompt has its own reply."""
    _, workdir = walked
    folder = str(launch.pocket_model_folder())
    own = ("judge.name=model", "judge.model.max_new_tokens=4")
    base, other = (
        consult.open_consultant(small_config(*own, f"judge.model.path={path}"), workdir) for path in ("", folder)
    )
    assert (base.title, other.title) == ("the model being tuned, before tuning", folder)
    assert base.version != other.version
    prompts = ["What is 3 plus 4?", "Reverse the word abc.", "What is 3 plus 4?"]
    replies = base.ask(prompts)
    assert len(replies) == 3 and replies[0] == replies[2] != replies[1]
    assert other.ask(prompts) == replies  # the base is the same model
