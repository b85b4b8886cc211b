"""Plain texts as ids."""

import pytest
from test_prompts import CHATML, write_folder

from s3ft_jax.prompts import PromptEncoder, PromptError
from s3ft_jax.stages.launch import pocket_model_folder
from s3ft_jax.texts import TextEncoder


@pytest.fixture(scope="module")
def pocket():
    return TextEncoder(pocket_model_folder())


def test_ids_are_the_tokenizers_and_decode_to_the_text(pocket):
    from transformers import AutoTokenizer

    theirs = AutoTokenizer.from_pretrained(pocket_model_folder())
    texts = ["Tom has 12 apples.", "", " two words"]
    assert pocket.encode(texts) == [theirs.encode(text) for text in texts]
    assert pocket.decode(pocket.encode(texts[:1])[0]) == texts[0]
    assert pocket.encode_inside(" two") == theirs.encode(" two", add_special_tokens=False)
    assert theirs.eos_token_id in pocket.stop_ids and pocket.end_text == theirs.eos_token


def test_bos_is_not_written_twice(babyllama105_folder):
    text = TextEncoder(babyllama105_folder)
    (plain,), (marked,) = text.encode(["Once"]), text.encode(["<s>Once"])
    assert plain[0] == text.prefix_id == 1 and marked.count(1) == 1
    assert text.encode(["<s>Once", "Once"]) == [marked, plain], "in the order given"


def test_turns_by_the_chat_template(pocket):
    turns = [{"role": "user", "content": "Hi?"}]
    opened = pocket.render(turns, opens_turn=True)
    assert "Hi?" in opened and pocket.render([*turns, {"role": "assistant", "content": "It"}], opens_turn=False) == (
        opened + " It"
    )
    with pytest.raises(PromptError, match="refuses these turns"):
        pocket.render([{"role": "tool", "content": "Be brief."}, *turns], opens_turn=True)
    folded = pocket.render([{"role": "system", "content": "Be brief.\n"}, *turns], opens_turn=True)
    assert "Be brief.\n\nHi?" in folded and pocket.num_folded == 1
    pocket.chat_template, kept = "", pocket.chat_template
    with pytest.raises(PromptError, match=r"no chat template, but benchmark\.chat asks for one"):
        pocket.render(turns, opens_turn=True)
    pocket.chat_template = kept


DATED = "{% for m in messages %}{{ strftime_now('%d %B %Y') }} {{ date_string }} {{ m['content'] }}{% endfor %}"


def test_the_date_is_that_of_training_and_not_todays(tmp_path):
    folder, _ = write_folder(tmp_path / "m", DATED + CHATML)
    turns = [{"role": "user", "content": "what is 2 + 2?"}]
    rendered = TextEncoder(folder).render(turns, opens_turn=True)
    assert rendered.startswith("26 July 2024 26 Jul 2024 what")
    prompts = PromptEncoder(folder)
    assert prompts.decode_text(prompts.encode_prompt(turns)) == rendered


def test_the_end_of_a_turn_ends_an_answer_once_turns_are_rendered(tmp_path):
    folder, raw = write_folder(tmp_path / "m", eos_token="<|end|>")
    text = TextEncoder(folder)
    end, turn_end = raw.token_to_id("<|end|>"), raw.token_to_id("<|im_end|>")
    assert text.stop_ids == (end,), "plain texts have no turns"
    text.render([{"role": "user", "content": "Hi?"}], opens_turn=True)
    assert text.stop_ids == (turn_end, end) == PromptEncoder(folder).stop_ids


def test_a_special_token_is_known_by_its_text(tmp_path):
    folder, raw = write_folder(tmp_path / "m")
    text = TextEncoder(folder)
    assert text.special_id("<|im_end|>") == raw.token_to_id("<|im_end|>")
    assert text.special_id("<|im_end|>\n") is None and text.special_id("the") is None
