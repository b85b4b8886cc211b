"""MultiDoc2Dial's raw files, written by hand in its field names: a turn of the agent is a question, all are counted."""

import json

import pytest

from s3ft_jax.tasks import load_examples
from s3ft_jax.tasks.multidoc2dial import NO_PAGE, NO_REPLY, NOT_ASKED, PAGES, read
from s3ft_jax.tasks.rows import file_digests, unread_files
from s3ft_jax.tasks.task import DataError

MOVING, FEES = "Moving house#1_0", "Fees#2_0"


def turn(number, role, utterance, *pages, da="respond_solution"):
    references = [{"label": "solution", "id_sp": "3", "doc_id": page} for page in pages]
    return {"turn_id": number, "role": role, "da": da, "references": references, "utterance": utterance}


def page(name, text):
    return {"doc_id": name, "title": name, "domain": "dmv", "doc_text": text, "spans": {}, "doc_html_ts": ""}


MOVED = {
    "dial_id": "d1",
    "turns": [
        turn(1, "user", "I moved. ", MOVING, da="query_condition"),
        turn(2, "agent", "Did you tell us?", MOVING, da="query_condition"),
        turn(3, "user", "No. What does it cost?", da="response_negative"),
        turn(4, "agent", "Ten dollars, see both.", FEES, MOVING, FEES),
        turn(5, "user", "And in Ohio?", da="query_solution"),
        turn(6, "agent", "I can not find that.", da="respond_no_solution"),
    ],
}
ODD = {
    "dial_id": "d2",
    "turns": [
        turn(1, "agent", "Hello.", MOVING),
        turn(2, "user", "Hm."),
        turn(3, "user", "Who are you?"),
        turn(4, "agent", "An agent."),
        turn(5, "user", "Bye."),
    ],
}
DOCS = {MOVING: page(MOVING, " Tell us when you move. "), FEES: page(FEES, "It costs ten dollars.")}


def written(folder, docs=None, **splits):
    folder.mkdir(exist_ok=True)
    if docs is not False:
        (folder / PAGES).write_text(json.dumps({"doc_data": {"dmv": DOCS if docs is None else docs}}))
    for split, dialogues in splits.items():
        (folder / f"multidoc2dial_dial_{split}.json").write_text(json.dumps({"dial_data": {"dmv": dialogues}}))
    return folder


def test_each_turn_of_the_agent_is_a_question_on_its_page(tmp_path):
    folder = written(tmp_path / "md2d", train=[MOVED])
    rows = list(read(folder / "multidoc2dial_dial_train.json"))
    assert [where.split("train.json:")[1] for where, _ in rows] == [f"dmv dialogue 1 turn {n}" for n in (2, 4, 6)]
    asks, both, never = (values for _, values in rows)
    assert asks["question"] == "User: I moved." and asks["answers"] == ["Did you tell us?"]
    assert asks["context"] == "Tell us when you move." and asks["passage"] == "Moving house"
    assert both["question"] == "User: I moved.\nAgent: Did you tell us?\nUser: No. What does it cost?"
    assert both["context"] == "It costs ten dollars.\n\nTell us when you move.", "each page once, in the turn's order"
    assert never["is_impossible"] and never["answers"] == [] and not both["is_impossible"]
    assert never["context"] == both["context"], "the pages last spoken of"


def test_a_folder_of_the_archive_is_read_by_its_splits_and_all_is_counted(tmp_path):
    folder = written(tmp_path / "md2d", train=[MOVED, ODD], validation=[MOVED], test=[MOVED])
    settings = {"name": "unanswerable", "data": str(folder)}
    examples, intake = load_examples(settings, "train")
    assert [example.check["unanswerable"] for example in examples] == [False, False, True]
    assert [example.gold for example in examples[:2]] == ["Did you tell us?", "Ten dollars, see both."]
    assert "Passage: Tell us when you move." in examples[0].messages[0]["content"]
    assert intake.left == {NOT_ASKED: 1, NO_PAGE: 1, NO_REPLY: 2} and intake.read == 7 and not intake.unread
    answerable, intake = load_examples(settings | {"name": "reading"}, "test")
    assert len(answerable) == 2 and intake.left == {"unanswerable questions": 1}
    assert set(file_digests(str(folder), {})) == {
        PAGES, *(f"multidoc2dial_dial_{split}.json" for split in ("train", "validation", "test"))
    }  # fmt: skip
    (folder / "more.json").write_text("[]")
    assert unread_files(str(folder), {}) == ["more.json"]


def test_one_file_is_divided_by_page(tmp_path):
    names = [f"Page {number}#0_0" for number in range(60)]
    docs = {name: page(name, f"This is {name}.") for name in names}
    dialogues = [
        {"dial_id": name, "turns": [turn(1, "user", "What?", name), turn(2, "agent", f"It is {name}.", name)] * 2}
        for name in names
    ]
    folder = written(tmp_path / "md2d", docs, train=dialogues)
    made = [load_examples({"name": "reading", "data": str(folder)}, split)[0] for split in ("train", "test")]
    pages = [{example.messages[0]["content"].partition("This is ")[2][:8] for example in some} for some in made]
    assert pages[0] and pages[1] and not pages[0] & pages[1]


@pytest.mark.parametrize(
    "dialogue, problem",
    [
        ("x", "dialogue 2: a dialogue without a list `turns`"),
        ({"turns": [turn(1, "clerk", "Hi.")]}, "dialogue 2: turn 1 has no `role` user or agent"),
        ({"turns": [turn(1, "user", "Hi."), turn(2, "agent", " ")]}, "dialogue 2: turn 2 has no text in `utterance`"),
        ({"turns": [turn(1, "user", "\ud800")]}, "dialogue 2: turn 1 has no text in `utterance`"),
        ({"turns": [turn(1, "user", "Hi.") | {"references": [{"id_sp": "1"}]}]}, "dialogue 2: turn 1: `references`"),
        (
            {"turns": [turn(1, "user", "Hi."), turn(2, "agent", "Yes.", "Lost#0_0")]},
            f"dialogue 2 turn 2: {PAGES} has no `doc_text` of the page 'Lost#0_0'",
        ),
    ],
)
def test_what_cannot_be_read_is_named_by_file_and_turn(dialogue, problem, tmp_path):
    folder = written(tmp_path / "md2d", train=[MOVED, dialogue], validation=[MOVED], test=[MOVED])
    settings = {"name": "unanswerable", "data": str(folder)}
    with pytest.raises(DataError) as raised:
        load_examples(settings, "train")
    assert f"multidoc2dial_dial_train.json:dmv {problem}" in str(raised.value)
    examples, intake = load_examples(settings | {"bad_rows": "skip"}, "train")
    assert len(examples) == 3 and intake.num_dropped == 1


def test_files_that_are_not_there_or_not_whole_are_named(tmp_path):
    folder = written(tmp_path / "md2d", False, train=[MOVED])
    settings = {"name": "unanswerable", "data": str(folder / "multidoc2dial_dial_train.json")}
    assert list(file_digests(settings["data"], {})) == ["multidoc2dial_dial_train.json"], "told when it is read"
    with pytest.raises(DataError, match=f"{PAGES}: no such file; MultiDoc2Dial's dialogues need their pages"):
        load_examples(settings, "train")
    for text, problem in (("[]", "holds no object 'doc_data'"), ("{", "not JSON"), ('"\xe9"', "not UTF-8")):
        (folder / PAGES).write_bytes(text.encode("latin-1"))
        with pytest.raises(DataError, match=f"{PAGES}: {problem}"):
            load_examples(settings, "train")
    written(folder, train={"d1": MOVED})
    with pytest.raises(DataError, match=r"dial_data\['dmv'\] holds dict, not a list"):
        load_examples(settings, "train")
