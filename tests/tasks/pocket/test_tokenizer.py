import hashlib
import pathlib

import pytest

from s3ft_jax.tasks.pocket import POCKET, pretraining, skills, splits, tokenizer

ODD = "Ünïcödé ≥ 3 – <<49+51=100>>100 apples  \n\n  def f(a):\n\treturn a[0]  # 1,234.5 ... don 't"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> pathlib.Path:
    path = tmp_path_factory.mktemp("tokenizer")
    tokenizer.train_tokenizer((f"{d.prompt}\n{d.response}" for d in pretraining.documents(0, 4000)), str(path))
    return path


@pytest.fixture(scope="module")
def loaded(folder):
    import transformers

    return transformers.AutoTokenizer.from_pretrained(str(folder), local_files_only=True)


def test_the_chat_template_writes_four_control_tokens(loaded):
    question = [{"role": "user", "content": "How many? 42"}]
    assert loaded.apply_chat_template(question, tokenize=False, add_generation_prompt=True) == "<u> How many? 42<a>"
    answered = [*question, {"role": "assistant", "content": "Answer: 42"}, *question]
    text = "<u> How many? 42<a> Answer: 42<e><u> How many? 42"
    assert loaded.apply_chat_template(answered, tokenize=False) == text
    ids = loaded.encode(text, add_special_tokens=False)
    pieces = loaded.convert_ids_to_tokens(ids)
    assert [pieces.count(control) for control in ("<u>", "<a>", "<e>")] == [2, 1, 1]
    assert (loaded.pad_token, loaded.eos_token, loaded.bos_token) == ("<pad>", "<e>", None)
    assert loaded.convert_tokens_to_ids(["<pad>", "<u>", "<a>", "<e>"]) == [0, 1, 2, 3]


def test_a_system_turn_is_refused(loaded):
    import jinja2

    with pytest.raises(jinja2.TemplateError, match="only user and assistant"):
        loaded.apply_chat_template([{"role": "system", "content": "Be brief."}], tokenize=False)


def test_decoding_gives_back_every_text(loaded):
    texts = [ODD, *(f"{document.prompt}\n{document.response}" for document in pretraining.documents(9, 300))]
    texts += [
        example.gold
        for task in POCKET.values()
        for g in splits.GOLD_STYLES
        for example in task.examples("test", 20, 0, g)
    ]
    for text in texts:
        assert loaded.decode(loaded.encode(text, add_special_tokens=False)) == text


def test_digits_stand_alone_and_the_vocabulary_is_full(loaded):
    assert len(loaded) == 1024
    pieces = loaded.convert_ids_to_tokens(loaded.encode("1234 + 56", add_special_tokens=False))
    assert [piece.strip("Ġ") for piece in pieces if piece.strip("Ġ").isdigit()] == list("123456")
    assert not [piece for piece in loaded.get_vocab() if sum(letter.isdigit() for letter in piece) > 1]


def test_ids_are_those_of_the_prompt_room(folder, loaded):
    from s3ft_jax.prompts import PromptEncoder

    encoder = PromptEncoder(str(folder))
    example = POCKET["arithmetic"].examples("train", 1, 0)[0]
    question = example.messages[0]["content"]
    assert encoder.encode_prompt(example.messages) == tuple(
        loaded.encode(f"<u> {question}<a>", add_special_tokens=False)
    )
    ids = encoder.encode_response(example.messages, example.gold)
    assert ids == tuple(loaded.encode(f" {example.gold}<e>", add_special_tokens=False))
    assert encoder.decode_response(ids) == f" {example.gold}"  # the template puts the space there


def test_texts_are_short_enough_for_the_pocket_model(loaded):
    def longest(texts):
        return max(len(loaded.encode(text, add_special_tokens=False)) for text in texts)

    for task in POCKET.values():
        for style in splits.GOLD_STYLES:
            examples = task.examples("train", 150, 0, style)
            assert longest(f"<u>{e.messages[0]['content']}<a>" for e in examples) <= 110
            assert longest(f"<u>{e.paraphrase_messages[0]['content']}<a>" for e in examples) <= 200
            assert longest(f"{e.gold}<e>" for e in examples) <= 100
    assert longest(f" {example.gold}<e>" for example in skills.examples(0)) <= 24


def test_the_same_texts_give_the_same_files(folder, tmp_path):
    texts = [f"{d.prompt}\n{d.response}" for d in pretraining.documents(0, 4000)]
    tokenizer.train_tokenizer(texts, str(tmp_path))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        first, second = ((path / name).read_bytes() for path in (folder, tmp_path))
        assert hashlib.sha256(first).hexdigest() == hashlib.sha256(second).hexdigest()


def test_impossible_sizes_are_told(tmp_path):
    with pytest.raises(ValueError, match="alone are 260"):
        tokenizer.train_tokenizer(["a"], str(tmp_path), 200)
    with pytest.raises(ValueError, match="give more texts"):
        tokenizer.train_tokenizer(["a b c"], str(tmp_path), 1024)
