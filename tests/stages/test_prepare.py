"""prepare: every split in its file, ids unique, what was read is counted."""

from s3ft_jax.records import Example


def test_every_split_is_there_and_counted(walked):
    _, workdir = walked
    sizes = {}
    ids = set()
    for split in ("train", "validation", "test", "general"):
        examples = workdir.read_records(Example, f"examples/{split}.jsonl")
        sizes[split] = len(examples)
        assert all(example.split == split for example in examples)
        ids |= {example.id for example in examples}
    assert sizes == {"train": 24, "validation": 8, "test": 12, "general": 21}
    assert len(ids) == sum(sizes.values())
    intake = workdir.manifest("prepare")["facts"]["intake"]
    assert intake["train"]["used"] == 24 and intake["train"]["read"] == 24


def test_only_train_carries_paraphrase_prompts(walked):
    _, workdir = walked
    assert all(e.paraphrase_messages for e in workdir.read_records(Example, "examples/train.jsonl"))
    assert not any(e.paraphrase_messages for e in workdir.read_records(Example, "examples/test.jsonl"))
