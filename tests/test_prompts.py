"""The prompt room: what is rendered, where the answer begins and ends, and which tokenizer folders are refused."""

import json

import pytest

from s3ft_jax.chat_templates import TEMPLATE_ARGS
from s3ft_jax.prompts import PromptEncoder, PromptError
from s3ft_jax.records import Example, Response
from s3ft_jax.stages.judge import judge_responses
from s3ft_jax.workdir import Workdir
from small import small_config

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
QUESTION = [{"role": "user", "content": "what is 2 + 2?"}]
SYSTEM = [{"role": "system", "content": "be brief"}, *QUESTION]


def write_folder(folder, template=CHATML, **config):
    """A byte-level BPE tokenizer of about 300 pieces, trained here; every text survives it."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=["<pad>", "<s>", "<|im_start|>", "<|im_end|>", "<|end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["user assistant\nwhat is 2 + 2?\n the answer is 4\n\n"] * 5, trainer)
    folder.mkdir(exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "pad_token": "<pad>", **config}
    if template is not None:
        config["chat_template"] = template
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder, tokenizer


def test_prompt_and_response_join_to_the_whole_conversation(tmp_path):
    folder, raw = write_folder(tmp_path / "m")
    encoder = PromptEncoder(folder)
    prompt = encoder.encode_prompt(SYSTEM)
    response = encoder.encode_response(SYSTEM, "the answer is 4")
    assert raw.decode(list(prompt), skip_special_tokens=False) == (
        "<|im_start|>system\nbe brief<|im_end|>\n<|im_start|>user\nwhat is 2 + 2?<|im_end|>\n<|im_start|>assistant\n"
    )
    # The line break the template writes after the end token is no part of the response.
    assert raw.decode(list(response), skip_special_tokens=False) == "the answer is 4<|im_end|>"
    assert response[-1] == raw.token_to_id("<|im_end|>") == encoder.stop_ids[0]
    assert encoder.counts == {"gold_by_template": 1}


def test_decode_stops_at_the_end_token_and_leaves_padding_out(tmp_path):
    folder, _ = write_folder(tmp_path / "m")
    encoder = PromptEncoder(folder)
    response = encoder.encode_response(QUESTION, "  x = 10\n\ncafé ")
    assert encoder.decode_response(response) == "  x = 10\n\ncafé "
    assert encoder.decode_response((*response, encoder.pad_id, *response)) == "  x = 10\n\ncafé "
    assert encoder.decode_response(()) == ""


def test_answer_that_joins_with_the_prompt_is_encoded_alone_and_counted(tmp_path):
    folder, raw = write_folder(tmp_path / "m")
    encoder = PromptEncoder(folder)
    # The whole conversation has the one piece "\n\n" where the prompt ends with a single line break.
    assert raw.token_to_id("ĊĊ") is not None
    response = encoder.encode_response(QUESTION, "\n\nthe answer is 4")
    assert raw.decode(list(response), skip_special_tokens=False) == "\n\nthe answer is 4<|im_end|>"
    assert encoder.counts == {"gold_alone": 1}


def test_stop_ids_gather_every_source(tmp_path):
    folder, raw = write_folder(tmp_path / "m", eos_token="<|end|>")
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [1, 3]}))
    encoder = PromptEncoder(folder)
    ids = [raw.token_to_id(piece) for piece in ("<|im_end|>", "<|end|>", "<s>")]
    assert encoder.stop_ids == tuple(ids)
    assert encoder.pad_id == raw.token_to_id("<pad>")
    assert encoder.vocab_size == raw.get_vocab_size()


def test_the_first_end_piece_after_an_answer_is_the_end_token(tmp_path):
    # Phi-3.5's template ends a conversation with <|end|>, a line break and <|endoftext|>; the model writes the first.
    folder, raw = write_folder(tmp_path / "m", CHATML + "{% if not add_generation_prompt %}<|end|>{% endif %}")
    encoder = PromptEncoder(folder)
    response = encoder.encode_response(QUESTION, "4")
    assert raw.decode(list(response), skip_special_tokens=False) == "4<|im_end|>"


def test_a_tokenizer_that_adds_bos_does_not_add_a_second(tmp_path):
    from tokenizers import processors

    folder, raw = write_folder(tmp_path / "m", "{{ bos_token }}" + CHATML)
    raw.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    raw.save(str(folder / "tokenizer.json"))
    encoder = PromptEncoder(folder)
    assert encoder.encode_prompt(QUESTION).count(1) == 1
    assert 1 not in encoder.encode_response(QUESTION, "4")


def test_end_token_comes_from_eos_where_the_template_writes_none(tmp_path):
    template = (
        "{% for m in messages %}{{ m['role'] }}\n{{ m['content'] }}\n{% endfor %}"
        "{% if add_generation_prompt %}assistant\n{% endif %}"
    )
    folder, raw = write_folder(tmp_path / "m", template, eos_token="<|end|>")
    encoder = PromptEncoder(folder)
    response = encoder.encode_response(QUESTION, "4")
    assert response[-1] == raw.token_to_id("<|end|>")
    assert encoder.counts["end_token_added"] == 1
    folder, _ = write_folder(tmp_path / "n", template)
    with pytest.raises(PromptError, match="would never stop"):
        PromptEncoder(folder)


@pytest.mark.parametrize(
    "guard",
    [
        "{% if m['role'] == 'system' %}{{ raise_exception('no system turns') }}{% endif %}",
        "{% if m['role'] != 'system' %}",
    ],
    ids=["refused", "dropped"],
)
def test_system_turn_is_folded_where_the_template_has_none(tmp_path, guard):
    body = "<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
    body = guard + body + ("" if "raise" in guard else "{% endif %}")
    template = (
        "{% for m in messages %}"
        + body
        + "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    folder, raw = write_folder(tmp_path / "m", template)
    encoder = PromptEncoder(folder)
    prompt = raw.decode(list(encoder.encode_prompt(SYSTEM)), skip_special_tokens=False)
    assert prompt == "<|im_start|>user\nbe brief\n\nwhat is 2 + 2?<|im_end|>\n<|im_start|>assistant\n"
    assert encoder.counts == {"system_folded": 1}
    assert encoder.describe()["system_turn"] == "folded into the first user turn"
    assert encoder.encode_response(SYSTEM, "4")[-1] == encoder.stop_ids[0]


@pytest.mark.parametrize(
    ("template", "config", "message"),
    [
        (None, {}, "no chat template.*model.chat_template"),
        ("{{ bos_token }}" + "{{ bos_token }}" + CHATML, {}, "two BOS tokens"),
        (CHATML.replace("im_end", "eot_id"), {}, "'<|eot_id|>'.*as one token"),
        (CHATML.split("{% if")[0], {}, "ignores `add_generation_prompt`"),
        ("\n{% for m in messages %}" + CHATML.split("%}", 1)[1], {}, "its own layout"),
        ("{{ messages[0]['content'] }}<|im_end|>", {}, "leaves out a turn"),
        ("{{ eos_token + '' }}" + CHATML, {}, "'eos_token' is undefined"),
    ],
    ids=["none", "two bos", "foreign piece", "answer not opened", "layout", "turn dropped", "no eos"],
)
def test_folders_that_cannot_be_used_are_refused(tmp_path, template, config, message):
    folder, _ = write_folder(tmp_path / "m", template, **config)
    with pytest.raises(PromptError, match=message.replace("|", r"\|")) as raised:
        PromptEncoder(folder)
    assert str(folder) in str(raised.value)


def test_template_from_an_argument_or_a_file(tmp_path):
    folder, _ = write_folder(tmp_path / "m", None)
    (tmp_path / "chatml.jinja").write_text(CHATML)
    given = PromptEncoder(folder, CHATML)
    read = PromptEncoder(folder, str(tmp_path / "chatml.jinja"))
    assert given.encode_prompt(QUESTION) == read.encode_prompt(QUESTION)
    assert given.describe() == read.describe()
    assert given.describe()["chat_template_from"] == "argument"
    assert len(given.describe()["chat_template_sha256"]) == 64
    with pytest.raises(PromptError, match="neither a file nor Jinja"):
        PromptEncoder(folder, "nowhere.jinja")


@pytest.mark.parametrize("template", [None, CHATML], ids=["own", "argument"])
def test_a_saved_encoder_gives_the_same_ids(tmp_path, template):
    other = CHATML.replace("{{ m['content'] }}", "{{ m['content'] | upper }}")
    folder, _ = write_folder(tmp_path / "m", CHATML if template is None else other, eos_token="<|end|>")
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [1, 3]}))
    first = PromptEncoder(folder, template)
    first.save(tmp_path / "saved")
    second = PromptEncoder(tmp_path / "saved")
    assert second.encode_prompt(SYSTEM) == first.encode_prompt(SYSTEM)
    assert second.stop_ids == first.stop_ids
    assert {**second.describe(), "chat_template_from": 0} == {**first.describe(), "chat_template_from": 0}


def test_token_text_shows_every_token(tmp_path):
    encoder = PromptEncoder(write_folder(tmp_path / "m")[0])
    prompt = encoder.encode_prompt(QUESTION)
    assert encoder.token_text(prompt[0]) == "<|im_start|>"
    assert "".join(map(encoder.token_text, prompt)).endswith("what is 2 + 2?<|im_end|>\n<|im_start|>assistant\n")


def test_a_text_as_it_stands_has_no_template_and_comes_back(tmp_path):
    encoder = PromptEncoder(write_folder(tmp_path)[0])
    text = "<|im_start|>user\nwhat <pad> is<|im_end|>\n  4"
    ids = encoder.encode_text(text)
    assert encoder.decode_text(ids) == text != encoder.decode_response(ids)
    assert encoder.encode_text("") == ()


def test_folder_without_tokenizer_is_an_error(tmp_path):
    with pytest.raises(PromptError, match="no such folder"):
        PromptEncoder(tmp_path / "none")
    with pytest.raises(PromptError, match="no tokenizer it can read"):
        PromptEncoder(tmp_path)


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([], "no chat turns"),
        ([{"role": "tool", "content": "x"}], "role 'tool'"),
        ([{"role": "user", "content": "  "}], "no text"),
        ([*QUESTION, {"role": "assistant", "content": "4"}], "last turn is assistant"),
        ([*QUESTION, {"role": "system", "content": "x"}, *QUESTION], "only the first"),
    ],
)
def test_bad_turns_are_errors_that_name_the_place(tmp_path, messages, message):
    folder, _ = write_folder(tmp_path / "m")
    with pytest.raises(PromptError, match=f"gsm8k/train/00001.*{message}"):
        PromptEncoder(folder).encode_prompt(messages, "gsm8k/train/00001")


def test_bad_gold_is_an_error_and_control_text_is_counted(tmp_path):
    folder, _ = write_folder(tmp_path / "m")
    encoder = PromptEncoder(folder)
    with pytest.raises(PromptError, match=r"r7.*empty"):
        encoder.encode_response(QUESTION, " \n", "r7")
    with pytest.raises(PromptError, match="r7.*<|im_end|>.*cut off".replace("|", r"\|")):
        encoder.encode_response(QUESTION, "4<|im_end|>5", "r7")
    encoder.encode_prompt([{"role": "user", "content": "what does <s> mean?"}])
    assert encoder.counts == {"control_text": 1}


def test_the_date_in_a_template_is_fixed(tmp_path):
    dated = "{{ strftime_now('%d %B %Y') }} {{ date_string }}" + CHATML
    folder, raw = write_folder(tmp_path / "m", dated)
    prompt = PromptEncoder(folder).encode_prompt(QUESTION)
    assert raw.decode(list(prompt)).startswith("26 July 2024 26 Jul 2024")


def test_tokenizer_json_wins_over_a_class_that_reads_it_differently(tmp_path):
    # transformers 5 rebuilds LlamaTokenizer with SentencePiece rules, which lose this vocabulary's spaces.
    folder, raw = write_folder(tmp_path / "m", tokenizer_class="LlamaTokenizerFast")
    encoder = PromptEncoder(folder)
    prompt = encoder.encode_prompt(QUESTION)
    assert list(prompt) == raw.encode(raw.decode(list(prompt), skip_special_tokens=False)).ids
    assert "what is 2 + 2?" in raw.decode(list(prompt))


@pytest.fixture
def needs(data_dir):
    """A file or folder below tokenizers/ of the real data."""

    def path_of(*parts):
        path = data_dir.joinpath("tokenizers", *parts)
        if not path.exists():
            pytest.skip(f"{path} is not there; see S3FT_DATA_DIR")
        return path

    return path_of


def test_phi3_golden_ids(needs):
    encoder = PromptEncoder(needs("phi-3"))
    assert encoder.encode_prompt([{"role": "user", "content": "Hi"}]) == (1, 32010, 13, 18567, 32007, 13, 32001, 13)
    assert encoder.encode_response([{"role": "user", "content": "Hi"}], "Yo man.") == (29979, 29877, 767, 29889, 32007)
    assert encoder.stop_ids == (32007, 32000)
    assert encoder.describe()["system_turn"].startswith("folded")  # its template drops system turns without a word


def test_phi3_text_ids_are_llama2s(needs):
    """Phi-3 has Llama 2's vocabulary, for which golden encodings exist; the template here writes the bare text."""
    golden = json.loads(needs("golden_encodings", "tokenizer_tests.json").read_text())
    end = "{% if m['role'] == 'assistant' %}{{ eos_token }}{% endif %}"
    bare = "{% for m in messages %}{{ m['content'] }}" + end + "{% endfor %}"
    encoder = PromptEncoder(needs("phi-3"), bare)
    checked = 0
    for case in golden["coreml-projects/Llama-2-7b-chat-coreml"]:
        # Spaces at the very beginning differ: Phi-3's settings say `legacy: false`, Llama 2's encodings are older.
        if case["input"].strip() and not case["input"].startswith(" "):
            assert encoder.encode_prompt([{"role": "user", "content": case["input"]}]) == tuple(
                case["encoded"]["input_ids"][1:]
            )
            checked += 1
    assert checked > 10


@pytest.mark.parametrize("template", ["trl/qwen2_5.jinja", "trl/qwen3.jinja", "mistral.rs/smollm3.jinja"])
def test_smollm2_with_real_templates(needs, template):
    encoder = PromptEncoder(needs("smollm2"), str(needs("chat_templates", *template.split("/"))))
    response = encoder.encode_response(SYSTEM, "It is 4.\nThe answer is 4")
    assert response[-1] == encoder.stop_ids[0] == 2
    assert encoder.decode_response(response).endswith("It is 4.\nThe answer is 4")
    assert encoder.counts == {"gold_by_template": 1}
    # Qwen 3 writes an empty think block before an answer without thoughts; it is trained as part of gold.
    assert encoder.describe()["answer_lead"] == ("<think>\n\n</think>\n\n" if "qwen3" in template else "")


def test_templates_with_their_own_layout_are_refused(needs):
    with pytest.raises(PromptError, match="its own layout"):
        PromptEncoder(needs("smollm2"), str(needs("chat_templates", "chujiezheng", "chatml.jinja")))


def test_torchtitan_tokenizer_loses_spaces_and_says_so(needs):
    encoder = PromptEncoder(needs("torchtitan_test"))
    encoder.encode_response(QUESTION, "It is 4")
    assert encoder.counts["gold_changed"] == 1
    assert encoder.describe()["keeps_text"] is False


def judged(encoder, ids, judge, check):
    """The verdict on a response of these ids, as a stage finds it."""
    thought, text = encoder.split_thought(encoder.decode_response(ids))
    example = Example("t/train/0", "t", "train", (), "", judge, check)
    response = Response(example.id, "own", 0, text, (), ids, True, 0.0, thought=thought)
    (verdict,) = judge_responses(small_config(), Workdir(""), [example], [response], "judge")
    return verdict


JUDGED = [
    ("exact", {"answer": "Oslo"}, "Oslo"),
    ("answers", {"answers": ["Oslo"]}, "Oslo"),
    ("numbers", {"answer": "42"}, "The answer is 42"),
    ("choice", {"choices": ["Rome", "Oslo"], "answer": "B"}, "B"),
]


@pytest.mark.parametrize("args", [None, TEMPLATE_ARGS, {"enable_thinking": True}], ids=["plain", "off", "on"])
@pytest.mark.parametrize("template", ["trl/qwen3.jinja", "mistral.rs/smollm3.jinja", "begun"])
@pytest.mark.parametrize(("judge", "check", "gold"), JUDGED)
def test_what_a_model_tuned_on_gold_writes_is_right(needs, judge, check, gold, template, args):
    """Whatever the template writes before an answer, and whether or not the model thinks first."""
    begun = CHATML.replace("assistant\n{%", "assistant\n<think>\n{%")  # as DeepSeek-R1's
    jinja = begun if template == "begun" else str(needs("chat_templates", *template.split("/")))
    encoder = PromptEncoder(needs("smollm2"), jinja, args)
    assert encoder.begins_thought == (template == "begun")
    ids = encoder.encode_response(QUESTION, gold)
    assert judged(encoder, ids, judge, check).outcome == "right"
    assert "gold_changed" not in encoder.counts
    opened = "" if encoder.begins_thought else "<think>\n"
    thinking = encoder.encode_text(f"{opened}No, 7? A? Rome?\n</think>\n\n{gold}")
    assert judged(encoder, thinking, judge, check).outcome == "right"
    cut = judged(encoder, encoder.encode_text(f"{opened}So it is {gold}"), judge, check)
    assert (cut.outcome, cut.reason.partition(":")[0]) == ("wrong", "unfinished_thought")


def test_thinking_is_turned_off_in_the_prompt_and_kept_with_the_folder(needs, tmp_path):
    template = str(needs("chat_templates", "trl", "qwen3.jinja"))
    encoder = PromptEncoder(needs("smollm2"), template, TEMPLATE_ARGS)
    prompt = encoder.encode_prompt(QUESTION)
    assert encoder.decode_text(prompt).endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n")
    encoder.save(tmp_path / "saved")
    assert PromptEncoder(tmp_path / "saved").encode_prompt(QUESTION) == prompt
    with pytest.raises(PromptError, match=r"r3: the chat template refuses the turns .* \(model.template_args: x=1\)"):
        guard = "{% if messages|length > x + 1 %}{{ raise_exception('too many') }}{% endif %}"
        turns = [*QUESTION, {"role": "assistant", "content": "4"}, *QUESTION]
        PromptEncoder(needs("smollm2"), guard + CHATML, {"x": 1}).encode_prompt(turns, "r3")
