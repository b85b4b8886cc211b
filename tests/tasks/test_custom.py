"""Your own data: every judge's check, splits that never overlap, earlier turns kept, bad rows counted."""

import json

import pytest

from s3ft_jax.judges import numbers
from s3ft_jax.records import Example, Response
from s3ft_jax.tasks import load_examples
from s3ft_jax.tasks.custom import chosen_letter, final_number
from s3ft_jax.tasks.task import BadRow, DataError


def write(tmp_path, rows, judge="numbers", name="train.jsonl", **settings):
    path = tmp_path / name
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return {
        "name": "custom",
        "data": str(path),
        "judge": judge,
        "judges": (judge,) if judge else (),
        "split_fracs": (1, 0, 0),
        **settings,
    }


def only(settings):
    ((example,), _) = load_examples(settings, "train")
    return example


def test_a_row_becomes_an_example(tmp_path):
    example = only(write(tmp_path, [{"question": "What is 3 times 4?", "answer": "3 times 4 is 12."}]))
    assert example.id == "custom/train/00000"
    assert example.messages == ({"role": "user", "content": "What is 3 times 4?"},)
    assert (example.gold, example.judge, example.check) == ("3 times 4 is 12.", "numbers", {"answer": "12"})
    shown = example.paraphrase_messages[0]["content"]
    assert "### Instruction:\nWhat is 3 times 4?" in shown
    assert "### Reference Answer:\n3 times 4 is 12." in shown


@pytest.mark.parametrize(
    ("judge", "row", "check"),
    [
        ("numbers", {"answer": "so\n#### 1,200"}, {"answer": "1200"}),
        ("numbers", {"answer": "words", "check": 7}, {"answer": "7"}),
        ("answers", {"answer": "a cat"}, {"answers": ["a cat"], "unanswerable": False, "min_f1": 0.6}),
        (
            "answers",
            {"answer": "x", "check": ["a", "b"]},
            {"answers": ["a", "b"], "unanswerable": False, "min_f1": 0.6},
        ),
        ("exact", {"answer": " yes\n"}, {"answer": "yes"}),
        ("choice", {"answer": "The answer is (b)."}, {"answer": "B"}),
        ("my_module:my_judge", {"answer": "x", "level": 3, "tags": ["t"]}, {"level": 3, "tags": ["t"]}),
        (
            "programs",
            {"answer": "```python\ndef f(n):\n    return n\n```", "tests": "assert f(1) == 1\nassert f(2) == 2\n"},
            {"entry": "f", "tests": ["assert f(1) == 1", "assert f(2) == 2"], "setup": "", "name": "f"},
        ),
    ],
)
def test_every_judge_gets_its_check(tmp_path, judge, row, check):
    assert only(write(tmp_path, [{"question": "q", **row}], judge)).check == check


@pytest.mark.parametrize(
    ("judge", "row", "message"),
    [
        ("numbers", {"answer": "none"}, "no number in the gold answer"),
        ("choice", {"answer": "Paris"}, "names no choice"),
        ("answers", {"answer": "x", "check": [""]}, "holds no answer text"),
        ("programs", {"answer": "def f(): 1", "tests": ["assert g() == 1"]}, "no test calls a function"),
        ("programs", {"answer": "def f(): 1", "tests": "assert f( =="}, "the tests are not Python"),
        ("programs", {"answer": "def f(): 1"}, r"task\.columns\.tests"),
        ("", {"answer": "1"}, r"judge\.name: not set"),
    ],
)
def test_what_no_check_can_be_made_of(tmp_path, judge, row, message):
    with pytest.raises(DataError, match=message):
        load_examples(write(tmp_path, [{"question": "q", **row}], judge), "train")


def test_several_judges_have_each_what_it_checks(tmp_path):
    settings = write(tmp_path, [{"question": "q", "answer": "so 12", "more": "x"}])
    judges = ("length(1,9)", "numbers", "exact", "my_module:my_judge", "model")
    name = f"all({', '.join(judges)})"
    example = only(settings | {"judge": name, "judges": judges})
    assert example.judge == name and example.check == {
        "numbers": {"answer": "12"},
        "exact": {"answer": "so 12"},
        "my_module:my_judge": {"more": "x"},
    }
    assert only(settings | {"judges": ("model",)}).check == {}


def test_earlier_turns_stay_and_own_wording_goes_around_the_last(tmp_path):
    turns = [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": "hi"},
        {"role": "user", "content": "2 + 2?"},
        {"role": "assistant", "content": "4"},
    ]
    example = only(write(tmp_path, [{"messages": turns}], prompt="Solve: {question}"))
    assert list(example.messages) == [*turns[:3], {"role": "user", "content": "Solve: 2 + 2?"}]
    assert list(example.paraphrase_messages[:3]) == turns[:3]
    assert "### Instruction:\n2 + 2?" in example.paraphrase_messages[3]["content"]


def test_own_wordings_show_columns_of_the_row(tmp_path):
    row = {"query": "Where?", "text": "By the sea.", "my role": "a guide", "reply": "the sea"}
    prompt = "{text}\n\n{question} The answer is {reply}. {txt}"
    settings = write(tmp_path, [row], "exact", columns={"question": "query", "answer": "reply"})
    examples, intake = load_examples(settings | {"prompt": prompt, "system": "You are {my role}."}, "train")
    asked = "By the sea.\n\nWhere? The answer is {reply}. {txt}"
    turns = [{"role": "system", "content": "You are a guide."}, {"role": "user", "content": asked}]
    assert list(examples[0].messages) == turns
    assert examples[0].paraphrase_messages[0] == turns[0]
    assert f"### Instruction:\n{asked}\n" in examples[0].paraphrase_messages[1]["content"]
    assert intake.unused == {} and intake.notes == {
        "{reply} in task.prompt stays as it is: it is gold, which is not shown": 1,
        "{txt} in task.prompt stays as it is: it is no column": 1,
    }
    with pytest.raises(DataError, match=r"train\.jsonl:2: column 'text' is empty"):
        load_examples(
            write(tmp_path, [row, row | {"text": ""}], "exact", columns=settings["columns"], prompt=prompt), "train"
        )


def test_what_no_one_reads_is_counted(tmp_path):
    rows = [
        {"question": "q", "context": "c", "system": "s", "answer": "1", "check": "1"},
        {"question": "r", "answer": "2", "check": "2"},
    ]
    examples, intake = load_examples(write(tmp_path, rows), "train")
    assert [example.messages[-1]["content"] for example in examples] == ["q", "r"]
    assert intake.unused == {"context": 1, "system": 1}
    assert load_examples(write(tmp_path, rows, "my_module:my_judge"), "train")[1].unused == {}
    assert load_examples(write(tmp_path, rows, "model"), "train")[1].unused == {"context": 1, "system": 1, "check": 2}


def test_more_text_joins_the_question_or_has_a_place_of_its_own(tmp_path):
    row = {"question": "Where?", "context": "By the sea.", "answer": "1"}
    settings = write(tmp_path, [row], columns={"input": "context"})
    assert only(settings).messages[0]["content"] == "Where?\n\nBy the sea."
    assert only(settings | {"prompt": "{context} {question}"}).messages[0]["content"] == "By the sea. Where?"


@pytest.mark.parametrize(
    ("row", "judge", "columns", "message"),
    [
        (
            {"question": "q", "answer": "1"},
            "numbers",
            {"tests": "x"},
            r"columns\.tests: has no effect with judge",
        ),
        ({"question": "q", "answer": "1"}, "model", {"check": "x"}, r"columns\.check: has no effect .*numbers"),
        ({"messages": [{}]}, "exact", {"input": "x"}, r"columns\.input: has no effect: 'messages' holds whole turns"),
    ],
)
def test_a_mapping_without_effect_stops(tmp_path, row, judge, columns, message):
    with pytest.raises(DataError, match=message):
        load_examples(write(tmp_path, [row | {"x": "1"}], judge, columns=columns), "train")


def test_a_system_text_for_all_rows_leaves_turns_of_their_own(tmp_path):
    own = [
        {"role": "system", "content": "own"},
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": "1"},
    ]
    rows = [{"messages": own}, {"messages": own[1:]}]
    examples, intake = load_examples(write(tmp_path, rows, system="Be short."), "train")
    assert [example.messages[0]["content"] for example in examples] == ["own", "Be short."]
    assert intake.notes == {"a system turn of their own in place of task.system": 1}
    rows = [{"question": "q", "answer": "1", "system": "s"}, {"question": "r", "answer": "1", "system": ""}]
    examples, intake = load_examples(write(tmp_path, rows, system="{system}"), "train")
    assert [len(example.messages) for example in examples] == [2, 1] and sum(intake.notes.values()) == 1


NONE = {"answers": [], "unanswerable": True, "min_f1": 0.6}


@pytest.mark.parametrize(
    ("row", "gold", "check"),
    [
        ({"answer": "The text does not say."}, "The text does not say.", NONE),
        ({"answer": "I do not know.", "unanswerable": True}, "I do not know.", NONE),
        ({"answer": "", "unanswerable": "true"}, "The passage does not say.", NONE),
        ({"answer": None, "unanswerable": True, "check": []}, "The passage does not say.", NONE),
        (
            {"answer": "Unknown", "unanswerable": False},
            "Unknown",
            NONE | {"answers": ["Unknown"], "unanswerable": False},
        ),
        ({"answer": "x", "check": ["Not stated."]}, "x", NONE),
    ],
)
def test_questions_without_an_answer(tmp_path, row, gold, check):
    ((example,), intake) = load_examples(write(tmp_path, [{"question": "q", **row}], "answers"), "train")
    assert (example.gold, example.check) == (gold, check)
    assert sum(intake.notes.values()) == check["unanswerable"] and not intake.unused
    several = write(tmp_path, [{"question": "q", **row}], "x") | {
        "judge": "first(answers, model)",
        "judges": ("answers", "model"),
    }
    assert only(several).check == {"answers": check}


def test_a_mark_that_gold_contradicts_is_a_bad_row(tmp_path):
    row = {"question": "q", "answer": "the sea", "unanswerable": True}
    with pytest.raises(DataError, match="'unanswerable' says that there is no answer, but gold does not"):
        load_examples(write(tmp_path, [row], "answers"), "train")


def test_a_split_that_nothing_falls_to_says_what_to_do(tmp_path):
    rows = [{"question": "always the same", "answer": "1"}] * 9
    with pytest.raises(
        DataError, match=r"(?s)task\.splits\.test=FILE`, or larger shares in `task\.split_fracs`.*9 left"
    ):
        load_examples(write(tmp_path, rows, split_fracs=(0.8, 0.1, 0.1)), "test")


def test_one_file_is_divided_and_no_prompt_lies_in_two_splits(tmp_path):
    rows = [{"question": f"What is {n % 150} + 1?", "answer": str(n % 150 + 1), "n": n} for n in range(300)]
    settings = write(tmp_path, rows, split_fracs=(0.6, 0.2, 0.2))
    prompts, ids = {}, set()
    for split in ("train", "validation", "test"):
        examples, intake = load_examples(settings, split)
        prompts[split] = {example.messages[0]["content"] for example in examples}
        assert len(examples) == 2 * len(prompts[split]) > 0  # both copies of a prompt are in the same split
        assert intake.left == {"rows of other splits": 300 - len(examples)}
        ids |= {example.id.rsplit("/", 1)[1] for example in examples}
    assert sum(map(len, prompts.values())) == len(set().union(*prompts.values())) == 150
    assert len(ids) == 300
    # Another seed divides otherwise; more rows leave the old ones where they were.
    assert {e.messages[0]["content"] for e in load_examples({**settings, "seed": 1}, "test")[0]} != prompts["test"]
    longer = write(
        tmp_path, [{"question": "new?", "answer": "1"}, *rows], name="longer.jsonl", split_fracs=(0.6, 0.2, 0.2)
    )
    assert {e.messages[0]["content"] for e in load_examples(longer, "test")[0]} - {"new?"} == prompts["test"]


def test_separate_files_are_taken_as_they_are(tmp_path):
    rows = [{"question": f"What is {n}?", "answer": str(n)} for n in range(20)]
    write(tmp_path, rows, name="test.jsonl")
    write(tmp_path, rows[:3], name="validation.jsonl")
    settings = write(tmp_path, rows[3:8], split_fracs=(0.5, 0.25, 0.25)) | {"data": str(tmp_path)}
    assert [len(load_examples(settings, split)[0]) for split in ("train", "validation", "test")] == [5, 3, 20]


def test_bad_rows_stop_or_are_counted(tmp_path):
    rows = [
        {"question": "q", "answer": ""},
        '{"question": "q", ',
        {"question": "What?", "answer": "1"},
        {"question": ["q"], "answer": "1"},
    ]
    settings = write(tmp_path, rows)
    with pytest.raises(DataError, match=r"train\.jsonl:1: column 'answer' is empty\. Fill it in.*task\.bad_rows=skip"):
        load_examples(settings, "train")
    examples, intake = load_examples({**settings, "bad_rows": "skip"}, "train")
    assert [example.id for example in examples] == ["custom/train/00002"]
    assert (intake.read, intake.used, intake.num_dropped) == (4, 1, 3)
    assert sorted(int(places[0].rsplit(":", 1)[1]) for places in intake.dropped.values()) == [1, 2, 4]


def test_columns_are_looked_for_before_any_row_is_used(tmp_path):
    with pytest.raises(DataError, match=r"cannot tell the question from the answer\. The data has the columns q, a\."):
        load_examples(write(tmp_path, [{"q": "x", "a": "1"}]), "train")
    mapped = write(tmp_path, [{"q": "x", "a": "1"}], columns={"question": "q", "answer": "a"})
    assert only(mapped).gold == "1"


def test_files_without_any_row(tmp_path):
    with pytest.raises(DataError, match="holds no rows"):
        load_examples(write(tmp_path, []), "train")
    with pytest.raises(DataError, match=r"train\.jsonl:1: not JSON.*no other row"):
        load_examples(write(tmp_path, ["{"], bad_rows="skip"), "train")


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("2 + 2 = 4. The answer is 4", "4"),
        ("The answer is 7. Later it was 9.", "7"),
        ("so $1,200.50", "1200.50"),
        ("\\boxed{3/4} of 8", "3/4"),
        ("it falls to -5", "-5"),
        ("#### 5 of 9", "5"),
        ("$\\boxed{\\frac{3}{4}}$", "3/4"),
        ("\\boxed{-\\frac12}", "-1/2"),
        ("The answer is 3 1/2.", "3 1/2"),
        ("\u22125", "-5"),
        ("It fell by 20%.", "20%"),
        ("About 1.5 million.", "1.5 million"),
        ("#### 1e5", "1e5"),
        ("#### 1,00,000", "100000"),
        ("She buys 4 * 3 = 12 in total for 2 days.", "12"),
        ("The answer is eighteen.", "eighteen"),
        ("It is -$2.5k", "-$2.5 thousand"),
    ],
)
def test_final_number_is_the_one_that_the_judge_finds_right(text, number):
    assert final_number(text) == number
    example = Example("t/train/0", "t", "train", (), text, "numbers", {"answer": number})
    response = Response(example.id, "own", 0, text, (), (), True, 0.0)
    assert numbers.judge(example, response).outcome == "right"


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("none", "no number in the gold answer"),
        ("10-7", "ends on an expression"),
        ("\\frac{\\pi}{2}", "ends on an expression"),
        ("The answer is 4 or 5", "names several numbers"),
        ("at 12:30", "ends on an expression"),
    ],
)
def test_gold_without_one_number_is_a_bad_row(text, cause):
    with pytest.raises(BadRow, match=cause) as caught:
        final_number(text)
    assert "judge.name" in caught.value.fix


@pytest.mark.parametrize(
    "text", ["B", "b", "(B)", "B.", "B) Paris", "B. Paris", "The answer is B", "So the answer is: (B)."]
)
def test_chosen_letter(text):
    assert chosen_letter(text) == "B"


@pytest.mark.parametrize("text", ["Paris", "A cat", "12", "because of B"])
def test_no_letter_chosen(text):
    with pytest.raises(BadRow):
        chosen_letter(text)
