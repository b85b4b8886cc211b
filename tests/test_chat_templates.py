"""Chat templates with values for their variables: as if they were handed over, and else letter for letter as before."""

import json

import pytest
from test_prompts import CHATML, write_folder

from configs.defaults import defaults
from s3ft_jax import chat_templates
from s3ft_jax.chat_templates import TEMPLATE_ARGS, PromptError, describe_args, unused, usual_args, with_args
from s3ft_jax.stages.launch import pocket_model_folder

TURNS = [{"role": "user", "content": "Hi?"}, {"role": "assistant", "content": "Yo"}, {"role": "user", "content": "So?"}]
SAYS = "{{ x }}|{{ enable_thinking is defined }}|" + CHATML


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    from s3ft_jax.prompts import load_tokenizer

    return load_tokenizer(write_folder(tmp_path_factory.mktemp("t") / "m", eos_token="<|end|>")[0])


def rendered(tokenizer, template, turns=TURNS, **given):
    """The text, or what the template refuses."""
    import jinja2

    tokenizer.chat_template = template
    try:
        return chat_templates.render(tokenizer, turns, add_generation_prompt=True, **given)
    except jinja2.TemplateError as error:
        return f"refused: {error}"


def test_the_default_is_that_of_the_config():
    assert defaults().model.template_args.to_dict() == TEMPLATE_ARGS


def test_real_templates_that_know_no_thinking_stay_and_the_others_do_as_if_told(data_dir, tokenizer):
    files = sorted((data_dir / "tokenizers" / "chat_templates").rglob("*.jinja"))
    changed = []
    for file in files:
        template = file.read_text()
        made = with_args(template, TEMPLATE_ARGS)
        changed += [file.name] * (made != template)
        # also where the template never says it: nothing but the variable may change
        forced = with_args(template + "{# enable_thinking #}", TEMPLATE_ARGS)
        for turns in (TURNS, TURNS[:1], [{"role": "system", "content": "Be brief."}, *TURNS[:1]]):
            told = rendered(tokenizer, template, turns, **TEMPLATE_ARGS)
            assert rendered(tokenizer, made, turns) == rendered(tokenizer, forced, turns) == told, file
    assert set(changed) == {"qwen3.jinja", "qwen3_training.jinja", "smollm3.jinja"} and len(files) > 20


@pytest.mark.parametrize(
    "value", [True, None, 3, 0.5, "a 'b' \"c\" {{ x }} #} \n \u00e9 \U0001f600", ["a", 1], {"a": True}]
)
def test_a_variable_is_as_if_it_were_handed_over(tokenizer, value):
    assert rendered(tokenizer, with_args(SAYS, {"x": value})) == rendered(tokenizer, SAYS, x=value)
    assert describe_args(with_args(SAYS, {"x": value})) == f" (model.template_args: x={value!r})"


def test_who_hands_it_over_chooses_and_the_last_config_counts(tokenizer):
    first = with_args(SAYS, {"x": 1, "enable_thinking": False})
    assert rendered(tokenizer, first, x=2).startswith("2|True|")
    second = with_args(first, {"x": 3})
    assert rendered(tokenizer, second).startswith("3|True|")
    assert describe_args(second) == " (model.template_args: x=3, enable_thinking=False)"
    assert with_args(second, {"x": 3}) == second
    assert unused(SAYS, {"x": 1, "y": 2}) == ["y"] and with_args(SAYS, {"y": 2}) == SAYS


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"messages": 1}, "messages: every template is given this already"),
        ({"date_string": "today"}, "date_string: every template"),
        ({"no name": 1}, "no name: this is no name of a variable"),
        ({"x": object()}, "x: <object .* is no plain value"),
    ],
)
def test_args_that_cannot_be_are_named(args, message):
    with pytest.raises(PromptError, match=rf"model\.template_args\.{message}"):
        with_args(SAYS, args)


def test_a_folder_without_a_config_gets_the_usual_ones_unless_it_states_its_own(tmp_path):
    assert usual_args(pocket_model_folder()) == TEMPLATE_ARGS
    (tmp_path / "chat_template.jinja").write_text(with_args(SAYS, {"enable_thinking": True}))
    assert usual_args(tmp_path) == {}


def test_of_several_named_templates_the_default_is_given_them(tokenizer):
    tokenizer.chat_template = {"default": SAYS, "tool_use": SAYS}
    chat_templates.give_args(tokenizer, {"x": 7})
    assert tokenizer.chat_template["tool_use"] == SAYS
    assert chat_templates.template_of(tokenizer) == with_args(SAYS, {"x": 7})
    assert json.loads(json.dumps(tokenizer.chat_template)) == tokenizer.chat_template


def test_the_end_of_a_turn_is_the_first_special_token_after_an_answer(tokenizer):
    tokenizer.chat_template = CHATML + "{% if not add_generation_prompt %}<|end|>{% endif %}"
    assert tokenizer.convert_ids_to_tokens(chat_templates.turn_end(tokenizer)) == "<|im_end|>"
    tokenizer.chat_template = "{{ raise_exception('one turn only') }}"
    assert chat_templates.turn_end(tokenizer) is None
