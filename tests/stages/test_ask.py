"""ask: an answer printed as it is written, from a folder or a workdir's model."""

import pytest

from s3ft_jax.generation.sampling import GREEDY
from s3ft_jax.generation.settings import EngineSettings
from s3ft_jax.progress import console
from s3ft_jax.records import Example
from s3ft_jax.responder import ResponseSettings, respond
from s3ft_jax.stages import ask
from s3ft_jax.stages.launch import load_model, pocket_model_folder
from s3ft_jax.workdir import WorkdirError


def test_the_answer_is_that_of_the_engine(walked):
    _, workdir = walked
    example = workdir.read_records(Example, "examples/train.jsonl")[0]
    (response,) = respond(
        [example],
        "own",
        load_model(workdir),
        ResponseSettings(sampling=GREEDY, max_new_tokens=48, seed=0, engine=EngineSettings(num_slots=1)),
    )
    question = example.messages[-1]["content"]
    for where in ({"workdir": workdir}, {"workdir": None, "path": "pocket"}, {"workdir": None, "path": None}):
        if where.get("path", "") is None:
            where["path"] = str(pocket_model_folder())
        with console.capture() as printed:
            ask.run(question=question, max_new_tokens=48, **where)
        assert printed.get().splitlines()[: len(response.text.splitlines())] == response.text.splitlines()
    with console.capture() as printed:
        ask.run(workdir, question, max_new_tokens=3)
    assert printed.get().splitlines()[-1] == "(cut after 3 tokens; --max_new_tokens)"


def test_a_tuned_model_of_the_workdir(walked):
    _, workdir = walked
    with console.capture() as printed:
        ask.run(workdir, "What is 2 plus 3?", method="s3ft", max_new_tokens=4, temperature=0.8)
    assert printed.get()


@pytest.mark.parametrize("both", [True, False])
def test_one_model_must_be_named(walked, both):
    with pytest.raises(WorkdirError, match="give --model=DIR, or --workdir=DIR with --method, and not both"):
        ask.run(walked[1] if both else None, "What?", path="pocket" if both else "")


def test_letters_of_several_bytes_are_printed_whole():
    class Bytes:
        def decode_response(self, ids):
            return bytes(ids).decode(errors="replace")

    printed = []
    written = ask._Written(Bytes(), lambda text, **_: printed.append(text))
    for count in range(1, 6):
        written.show("häh!".encode()[:count], count - 1)
    assert printed == ["h", "ä", "h", "!"]
