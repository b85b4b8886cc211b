from synthetic_evidence import synthetic_evidence

from s3ft_jax.prompts import PromptEncoder
from s3ft_jax.report import intake


def test_every_row_is_in_the_table_with_its_reason():
    table = intake.intake_table(synthetic_evidence())
    train, test = ([cell.text for cell in row] for row in table.rows)
    assert train == ["train", "1,030", "1,024", "4", "2", "4 beyond the limit; 2 empty"]
    assert test == ["test", "600", "600", "0", "0", ""]


def test_whatever_was_dropped_or_changed_is_a_caution():
    found = intake.intake_cautions(synthetic_evidence())
    assert found[0] == "2 train rows could not be used: a:3 and a:9."
    assert found[1] == "3 gold answers that decode to another text."
    assert found[2].startswith("SFT seed 0: 1 training target too long for train.max_length left out: ")
    assert len(found) == 3
    assert not intake.intake_cautions(synthetic_evidence(intakes={}, encoding={"gold_by_template": 9}, left_out={}))


def test_what_prepare_noticed_is_in_the_table_and_shared_prompts_are_a_caution():
    test = {"read": 9, "used": 9, "left": {}, "dropped": {}, "shared": 3, "unread": ["eval.jsonl"]}
    rows = {"test": test | {"notes": {"no answer is wanted": 2}, "unused": {"context": 9, "system": 1}}}
    evidence = synthetic_evidence(intakes=rows, encoding={}, left_out={})
    assert intake.intake_table(evidence).rows[0][-1].text == (
        "2 used: no answer is wanted; not read of rows used: context (9), system (1); "
        "files that no split is read from: eval.jsonl"
    )
    (found,) = intake.intake_cautions(evidence)
    assert found == "3 of 9 test prompts are training prompts, too: scores on them say little of new ones."


def test_many_places_are_cut_with_their_number():
    rows = {"train": {"read": 9, "used": 0, "left": {}, "dropped": {"empty": [f"a:{n}" for n in range(9)]}}}
    (found,) = intake.intake_cautions(synthetic_evidence(intakes=rows, encoding={}, left_out={}))
    assert found == "9 train rows could not be used: a:0, a:1, a:2, a:3 and a:4 and 4 more."


def test_everything_the_encoder_counts_has_words():
    assert all(f"``{name}``" in PromptEncoder.counts.__doc__ for name in intake.ENCODED)
    assert PromptEncoder.counts.__doc__.count("``: ") == len(intake.ENCODED)
    assert [row[1].text for row in intake.encoding_table(synthetic_evidence()).rows] == ["1,024", "3"]
