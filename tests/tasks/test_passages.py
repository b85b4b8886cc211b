"""Passages: each layout becomes the same columns, nothing is lost on the way, and questions are made unanswerable."""

import csv
import io
import json
import zipfile

import pytest

from s3ft_jax.tasks import load_examples
from s3ft_jax.tasks.passages import (
    NO_OTHER,
    NO_SHORT_ANSWER,
    is_unanswerable,
    make_unanswerable,
    questions,
    structure_of,
)
from s3ft_jax.tasks.reading import read_answers
from s3ft_jax.tasks.task import BadRow, DataError, Row


def read(*values):
    return list(questions(Row(f"f:{number}", number, one) for number, one in enumerate(values)))


def test_rows_of_no_known_layout_pass_through_and_are_numbered():
    plain = {"context": "c", "question": "q", "answers": ["a"]}
    rows = [Row("f:1", 0, plain), Row("f:2", 1, None, "not JSON")]
    assert [(row.index, row.values, row.problem) for row in questions(rows)] == [
        (0, plain, None),
        (1, None, "not JSON"),
    ]


def test_mrqa_has_a_line_that_says_what_the_file_is():
    body = {"context": "[TLE] Rhine [SEP] [PAR] It flows.", "qas": [{"question": "What?", "answers": ["it"]}] * 2}
    rows = read({"header": {"dataset": "NaturalQuestions"}}, body)
    assert [row.values["context"] for row in rows] == ["Rhine\nIt flows."] * 2
    assert [row.where for row in rows] == ["f:1 question 1", "f:1 question 2"]
    assert read_answers(rows[0], {}) == ["it"]


TEXT = "<P> The Rhine rises in Switzerland . </P> <Table> x </Table> <P> " + "word " * 40 + "</P>"
CANDIDATES = [{"start_token": 12, "end_token": 54, "top_level": True}]


def natural(**annotation):
    long = annotation.pop("long", {"start_token": 0, "end_token": 8})
    marks = {"long_answer": long, "short_answers": [], "yes_no_answer": "NONE", **annotation}
    return {
        "document_text": TEXT, "question_text": "where does it rise", "annotations": [marks],
        "long_answer_candidates": CANDIDATES, "document_url": "u",
    }  # fmt: skip


def test_natural_questions_are_spans_of_tokens_without_tags():
    short, yes, without, none = read(
        natural(short_answers=[{"start_token": 5, "end_token": 6}]),
        natural(yes_no_answer="YES"),
        natural(),
        natural(long={"start_token": -1, "end_token": -1}),
    )
    assert short.values["context"] == "The Rhine rises in Switzerland ." and short.values["answers"] == ["Switzerland"]
    assert yes.values["answers"] == ["yes"] and without.values["left"] == NO_SHORT_ANSWER
    assert none.values["is_impossible"] and none.values["context"].startswith("word word")
    assert short.values["passage"] == "u"


def test_a_conversation_is_read_from_its_beginning():
    values = {
        "question": "user:And then? \tagent:Call us. \tuser:I moved", "context": "Pay.", "domain": "dmv",
        "title": "Moving#3_0", "answers": "{'text': ['Pay.'], 'answer_start': [0]}",
    }  # fmt: skip
    (row,) = read(values)
    assert row.values["question"] == "User: I moved\nAgent: Call us.\nUser: And then?"
    assert read_answers(row, {}) == ["Pay."] and row.values["passage"] == "Moving"
    (broken,) = read(values | {"answers": "{'text': ["})
    with pytest.raises(BadRow, match="neither a list nor a mapping"):
        read_answers(broken, {})


@pytest.mark.parametrize(
    ("mark", "unanswerable"),
    [(True, True), (False, False), (1, True), (0.0, False), (None, False), ("", False), ("True", True),
     ("False", False), ("false", False), ("0", False), (" yes ", True), ("NO", False), ("1", True)],
)  # fmt: skip
def test_the_mark_of_the_unanswerable_may_be_text(mark, unanswerable):
    assert is_unanswerable({"is_impossible": mark, "answers": ["a"]}, {}) is unanswerable


@pytest.mark.parametrize("mark", ["maybe", 2, [True]])
def test_another_mark_is_a_bad_row(mark):
    with pytest.raises(BadRow, match=r"column 'is_impossible' is .*neither true nor false"):
        is_unanswerable({"is_impossible": mark}, {})


@pytest.mark.parametrize(
    ("text", "answers"),
    [
        ("{'text': ['Norway'], 'answer_start': [11]}", ["Norway"]),
        ('{"text": ["Norway", "norway"], "answer_start": [11, 3]}', ["Norway", "norway"]),
        ("['Norway']", ["Norway"]),
        ('[{"text": "Norway", "answer_start": null}]', ["Norway"]),
        (" ['it\\'s'] ", ["it's"]),
        ("Norway [1]", ["Norway [1]"]),
        ("(1911)", ["(1911)"]),
        (["[REDACTED]"], ["[REDACTED]"]),
    ],
)
def test_answers_written_out_are_read_and_not_trained_on_as_they_stand(text, answers):
    row = Row("f:1", 0, {"context": "c", "question": "q", "answers": text})
    assert read_answers(row, {}) == answers and not is_unanswerable(row.values, {})


@pytest.mark.parametrize("text", ["{'text': [], 'answer_start': []}", "[]", '{"text": []}'])
def test_no_answers_written_out_are_none(text):
    assert is_unanswerable({"a": text}, {"answers": "a"})


@pytest.mark.parametrize("text", ["[REDACTED]", "{'text': ['Nor", "[sic] so", "{'text': array(['a'])}", "{1, 2}"])
def test_text_that_begins_as_a_list_and_is_none_is_a_bad_row(text):
    """Whether it was cut off cannot be told; an answer that does begin so has a list to stand in."""
    for read in (lambda: structure_of(text, "a"), lambda: is_unanswerable({"a": text}, {"answers": "a"})):
        with pytest.raises(BadRow, match="column 'a' begins with a bracket") as caught:
            read()
        assert "goes into such a list" in caught.value.fix


def test_a_csv_of_answers_written_out(tmp_path):
    path = tmp_path / "rows.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["context", "question", "answers", "is_impossible"])
        writer.writeheader()
        for number, (answers, mark) in enumerate([("['a town']", "False"), ("[]", "True"), ("[cut", "False")]):
            writer.writerow({"context": "c", "question": f"q{number}", "answers": answers, "is_impossible": mark})
    settings = {"name": "unanswerable", "data": str(path), "split_fracs": (1, 0, 0)}
    with pytest.raises(DataError, match=r"rows\.csv:4: column 'answers' begins with a bracket"):
        load_examples(settings, "train")
    for frac in (0.0, 0.001):
        examples, intake = load_examples(settings | {"bad_rows": "skip", "unanswerable_frac": frac}, "train")
        assert [one.check["answers"] for one in examples] == [["a town"], []] and intake.num_dropped == 1


def musique(**more):
    paragraphs = [
        {"title": "A", "paragraph_text": "Ann lives in Bonn.", "is_supporting": True},
        {"title": "B", "paragraph_text": "It rains.", "is_supporting": False},
    ]
    base = {"id": "2hop__1_2", "paragraphs": paragraphs, "question": "Where?", "answer": "Bonn"}
    return base | {"answer_aliases": ["Bonn, Germany"], "answerable": True} | more


def test_musique_knows_what_answers_the_question():
    full, never = read(musique(), musique(answerable=False))
    assert (
        full.values["context"] == "A\nAnn lives in Bonn.\n\nB\nIt rains." and full.values["without"] == "B\nIt rains."
    )
    assert full.values["answers"] == ["Bonn", "Bonn, Germany"] and full.values["passage"] == "2hop__1_2"
    assert never.values["is_impossible"] and not full.values["is_impossible"]


def flat(number):
    values = {"context": f"Town {number} has a church.", "question": "Which town?", "answers": [f"Town {number}"]}
    return Row(f"f:{number}", number, values)


def test_a_share_of_questions_is_made_unanswerable_by_another_passage():
    rows = [flat(number) for number in range(400)]
    made = make_unanswerable(rows, 0.3, 0, {}, lambda row: read_answers(row, {}))
    turned = [(old, new) for old, new in zip(rows, made, strict=True) if new is not old]
    assert 90 < len(turned) < 150
    for old, new in turned:
        assert new.values["is_impossible"] and new.values["passage"] == old.values["context"]
        assert new.values["context"] != old.values["context"] and new.values["question"] == old.values["question"]
        assert old.values["answers"][0] not in new.values["context"]
    again = make_unanswerable(rows[::-1], 0.3, 0, {}, lambda row: read_answers(row, {}))
    assert [row.values for row in again[::-1]] == [row.values for row in made], "order does not matter"
    assert make_unanswerable(rows, 0.0, 0, {}, lambda row: read_answers(row, {})) == rows


def test_what_answers_is_taken_away_where_it_is_known():
    (row,) = make_unanswerable(read(musique()), 1.0, 0, {}, lambda row: read_answers(row, {}))
    assert row.values["context"] == "B\nIt rains." and row.values["is_impossible"]
    (never,) = make_unanswerable(read(musique(answerable=False)), 1.0, 0, {}, lambda row: [])
    assert "Bonn" in never.values["context"], "a question that has no answer stays as it is"


def test_a_question_that_every_passage_answers_is_left_and_counted(tmp_path):
    rows = [flat(number).values | {"answers": ["church"], "question": f"Q{number}?"} for number in range(20)]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = {"name": "unanswerable", "data": str(path), "split_fracs": (1, 0, 0), "unanswerable_frac": 0.5}
    examples, intake = load_examples(settings, "train")
    assert intake.left == {NO_OTHER: 20 - len(examples)} and 0 < len(examples) < 20
    assert not any(example.check["unanswerable"] for example in examples)


def test_another_passage_must_be_there():
    with pytest.raises(DataError, match="only one passage"):
        make_unanswerable([flat(0)], 1.0, 0, {}, lambda row: read_answers(row, {}))


def test_made_unanswerable_a_question_stays_in_its_split(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(
        "".join(json.dumps(flat(number).values | {"question": f"Q{number}?"}) + "\n" for number in range(90))
    )
    settings = {"name": "unanswerable", "data": str(path), "split_fracs": (0.6, 0.2, 0.2)}
    for split in ("train", "validation", "test"):
        asked = [
            {example.id for example in load_examples(settings | {"unanswerable_frac": frac}, split)[0]}
            for frac in (0.0, 0.5)
        ]
        assert asked[0] == asked[1]
    made = load_examples(settings | {"unanswerable_frac": 0.5}, "train")[0]
    assert 10 < sum(example.check["unanswerable"] for example in made) < len(made) - 10
    with pytest.raises(DataError, match="no share from 0 to 1"):
        load_examples(settings | {"unanswerable_frac": 2.0}, "train")


def test_a_table_in_a_zip(tmp_path):
    text = io.StringIO()
    writer = csv.DictWriter(text, ["context", "question", "answers"])
    writer.writeheader()
    writer.writerow({"context": "It is a town.", "question": "What?", "answers": "a town"})
    for name in ("rows.csv", "rows.csv.zip"):  # pandas names the file in the zip as the zip
        with zipfile.ZipFile(tmp_path / "rows.csv.zip", "w") as packed:
            packed.writestr(name, text.getvalue())
        settings = {"name": "reading", "data": str(tmp_path / "rows.csv.zip"), "split_fracs": (1, 0, 0)}
        ((example,), _) = load_examples(settings, "train")
        assert example.gold == "a town"
    with zipfile.ZipFile(tmp_path / "rows.csv.zip", "a") as packed:
        packed.writestr("more.csv", "x")
    with pytest.raises(DataError, match="holds 2 files; unpack it"):
        load_examples(settings, "train")
    (tmp_path / "rows.csv.zip").write_bytes(b"no zip")
    with pytest.raises(DataError, match="not a zip file"):
        load_examples(settings, "train")


@pytest.mark.parametrize("task, frac, unanswerable", [("reading", 0.0, 0), ("unanswerable", 0.5, 0.5)])
@pytest.mark.parametrize(
    "name, number", [("doc2dial/doc2dial_rc_val.csv.zip", 3972), ("musique/musique_train_100.json", 100)]
)
def test_real_data(data_dir, name, number, task, frac, unanswerable):
    path = data_dir / "datasets" / name
    if not path.exists():
        pytest.skip(f"{path} is not there")
    settings = {"name": task, "data": str(path), "unanswerable_frac": frac}
    sizes, pages = [], []
    for split in ("train", "validation", "test"):
        examples, _ = load_examples(settings, split)
        sizes.append(len(examples))
        share = sum(example.check["unanswerable"] for example in examples) / len(examples)
        assert abs(share - unanswerable) < 2 / len(examples) ** 0.5
        pages.append({example.messages[0]["content"] for example in examples})
    assert sum(sizes) == number and sizes[0] > 6 * sizes[2] > 0
