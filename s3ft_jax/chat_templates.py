"""Chat templates: where one comes from, the variables it is given, and the date it is told.

In: Jinja text and a config's ``model.template_args``. Out: Jinja text that gives those variables their values by
itself. A variable is written into the template, in a line before all else, and not handed over at each rendering::

    {# model.template_args {"enable_thinking": false} #}{% if enable_thinking is not defined %}...{% endif %}

So whatever renders it renders the same: sampling, gold, benchmarks, and whoever loads the exported folder, who may
still choose otherwise by handing the variable over. A template that does not use a variable is left as it is.

Some templates write today's date into the system turn. It is fixed here (26 July 2024, the date Llama 3.2's own
template falls back to), so that a run gives the same prompt ids tomorrow.
"""

from __future__ import annotations

import datetime
import json
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

TEMPLATE_DATE = datetime.datetime(2024, 7, 26)
"""What a template that asks for the date is told; chat template of meta-llama/Llama-3.2-1B-Instruct, its fallback."""
TEMPLATE_ARGS: Mapping[str, Any] = {"enable_thinking": False}
"""What ``model.template_args`` is unless a config says otherwise: Qwen3 and SmolLM3 answer without thinking first."""
TAKEN = (
    *("messages", "tools", "documents", "add_generation_prompt", "continue_final_message"),
    *("date_string", "strftime_now", "raise_exception", "bos_token", "eos_token", "pad_token", "unk_token"),
)
"""Names that a template is given anyway."""

_MARK = "{# model.template_args "
_STATED = re.compile(re.escape(_MARK) + r"(.*?) #\}")


class PromptError(ValueError):
    """A tokenizer folder, a chat template or a text cannot be used. The message names cause and fix."""


def read_template(template: str) -> str:
    """A template given as Jinja text, or as the path of a file.

    Raises:
      PromptError: it is neither.
    """
    if "{" in template or "\n" in template:
        return template
    path = pathlib.Path(template).expanduser()
    if not path.is_file():
        raise PromptError(f"model.chat_template: {template!r} is neither a file nor Jinja text.")
    return path.read_text(encoding="utf-8")


def render(tokenizer: Any, turns: Sequence[Mapping[str, str]], **options: Any) -> str:
    """Turns as text, by the tokenizer's chat template.

    Args:
      tokenizer: of transformers.
      turns: with role and content.
      options: of ``apply_chat_template``.

    Raises:
      jinja2.TemplateError: the template refuses the turns.
    """
    dated = {"date_string": TEMPLATE_DATE.strftime("%d %b %Y"), "strftime_now": TEMPLATE_DATE.strftime}
    return tokenizer.apply_chat_template([dict(turn) for turn in turns], tokenize=False, **dated, **options)


def first_special(tokenizer: Any, text: str) -> int | None:
    """The id of the first special token in a text; None if it has none."""
    added = tokenizer.added_tokens_decoder
    ids = tokenizer.encode(text, add_special_tokens=False)
    return next((int(index) for index in ids if index in added and added[index].special), None)


def turn_end(tokenizer: Any) -> int | None:
    """The id of the special token that the template writes first after an answer; None if it writes none, or takes no
    conversation of two turns.
    """
    import jinja2

    turns = [{"role": "user", "content": "Qprobe"}, {"role": "assistant", "content": "Aprobe"}]
    try:
        _, _, after = render(tokenizer, turns, add_generation_prompt=False).partition("Aprobe")
    except jinja2.TemplateError:
        return None
    return first_special(tokenizer, after)


def with_args(template: str, args: Mapping[str, Any]) -> str:
    """The template with values for those of the variables that it uses; they go before what it stated so far.

    ``enable_thinking=False`` for a template that never says ``enable_thinking`` gives that template, letter for letter.

    Raises:
      PromptError: a name that Jinja does not take or that the template is given anyway, or a value that is no plain
        one (None, bool, number, text, list or dict of such).
    """
    for name in args:
        if not name.isidentifier() or name in TAKEN:
            why = "every template is given this already" if name in TAKEN else "this is no name of a variable"
            raise PromptError(f"model.template_args.{name}: {why}. Leave it out.")
    used = {name: value for name, value in args.items() if name not in unused(template, args)}
    stated = {name: value for name, value in _stated(template).items() if name not in args}
    if not used or used | stated == _stated(template):
        return template
    lines = [
        f"{{% if {name} is not defined %}}{{% set {name} = {_literal(value, name)} %}}{{% endif %}}"
        for name, value in used.items()
    ]
    # as JSON, in which the end of a Jinja comment can be written otherwise
    told = json.dumps(used | stated, ensure_ascii=False).replace("#}", "#\\u007d")
    # a line of its own, of which Jinja leaves nothing: the template begins at the beginning of a line, as it did
    return f"{_MARK}{told} #}}{''.join(lines)}\n{template}"


def template_of(tokenizer: Any) -> str:
    """The template that conversations without tools are rendered by; empty if the tokenizer has none."""
    found = tokenizer.chat_template or ""
    return found if isinstance(found, str) else found.get("default", "")


def give_args(tokenizer: Any, args: Mapping[str, Any]) -> None:
    """``with_args`` for the template of a tokenizer; of several named ones, the one that is used here."""
    template = with_args(template_of(tokenizer), args)
    found = tokenizer.chat_template
    tokenizer.chat_template = {**found, "default": template} if isinstance(found, dict) else template


def unused(template: str, args: Mapping[str, Any]) -> list[str]:
    """The names that the template never says."""
    return [name for name in args if not re.search(rf"\b{re.escape(name)}\b", template)]


def describe_args(template: str) -> str:
    """For messages: the variables that ``with_args`` gave their values; empty if none."""
    stated = ", ".join(f"{name}={value!r}" for name, value in _stated(template).items())
    return f" (model.template_args: {stated})" if stated else ""


def usual_args(directory: pathlib.Path) -> dict[str, Any]:
    """``TEMPLATE_ARGS`` for a model folder that is used without a config; none where its template states its own, as
    that of a folder exported by this project does.
    """
    file = directory / "chat_template.jinja"
    stated = _stated(file.read_text(encoding="utf-8")) if file.exists() else {}
    return {name: value for name, value in TEMPLATE_ARGS.items() if name not in stated}


def _stated(template: str) -> dict[str, Any]:
    """What ``with_args`` last wrote into the template."""
    found = _STATED.match(template)
    return json.loads(found[1]) if found else {}


def _literal(value: Any, name: str) -> str:
    """The value as Jinja writes it."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (str, int, float)):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_literal(one, name) for one in value) + "]"
    if isinstance(value, Mapping):
        inner = ", ".join(f"{_literal(str(key), name)}: {_literal(one, name)}" for key, one in value.items())
        return "{" + inner + "}"
    raise PromptError(f"model.template_args.{name}: {value!r} is no plain value. Give a text, a number, True or False.")
