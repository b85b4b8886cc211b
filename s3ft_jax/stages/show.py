"""Stage: the whole life of one example, for a person: prompt, responses, verdicts, target, each token with its weight.

Reads files only; no device is used.
"""

from __future__ import annotations

import difflib

from ml_collections import ConfigDict

from s3ft_jax.progress import say
from s3ft_jax.prompts import PromptEncoder
from s3ft_jax.records import SAMPLED, Example, Response, Selection, Verdict
from s3ft_jax.selection import METHODS
from s3ft_jax.shards import read_shards
from s3ft_jax.stages.launch import BASE
from s3ft_jax.storage import files_below
from s3ft_jax.variants import method_of
from s3ft_jax.workdir import Workdir, WorkdirError


def run(config: ConfigDict, workdir: Workdir, example_id: str, *, method: str = "") -> None:
    """Print everything the workdir holds about one example.

    Raises:
      WorkdirError: no such example; names the nearest ids.
    """
    example = find(workdir, example_id)
    _title(f"{example.id}  ({example.split}, judge {example.judge})")
    for message in example.messages:
        say(f"[{message['role']}] {message['content']}")
    _title("gold")
    say(example.gold)
    say(f"check: {dict(example.check)}")
    for origin in SAMPLED:
        _show_responses(workdir, example, origin)
    encoder = PromptEncoder(str(workdir / BASE / "tokenizer")) if (workdir / BASE).exists() else None
    for name in [method_of(method)] if method else METHODS:
        path = f"selections/{name}.jsonl"
        if (workdir / path).exists():
            for selection in workdir.read_records(Selection, path):
                if selection.example_id == example.id:
                    _show_selection(selection, encoder)
    for name in workdir.matching([f"rounds/{method or '*'}"]):
        _show_rounds(workdir, example, name, encoder)
    for file in files_below(workdir / "scores"):
        if file.name == f"{example.split}-scores.jsonl":
            _show_answer(workdir, str(file.parent.relative_to(workdir.path)), example)


def find(workdir: Workdir, example_id: str) -> Example:
    """The example of this id, from any split."""
    names = workdir.matching(["examples/*.jsonl"])
    examples = [example for name in names for example in workdir.read_records(Example, name)]
    for example in examples:
        if example.id == example_id:
            return example
    close = difflib.get_close_matches(example_id, [example.id for example in examples], n=3, cutoff=0.3)
    raise WorkdirError(f"no example {example_id!r} in {workdir.path}/examples; nearest: {', '.join(close) or 'none'}")


def _title(text: str) -> None:
    say(f"\n== {text}")


def _show_rounds(workdir: Workdir, example: Example, place: str, encoder: PromptEncoder | None) -> None:
    """Own answers made anew while a method was trained, and what followed from them."""
    for file in files_below(workdir / place):
        if file.name == "selections.jsonl":
            where = str(file.parent.relative_to(workdir.path))
            selections = workdir.read_records(Selection, f"{where}/selections.jsonl")
            found = [selection for selection in selections if selection.example_id == example.id]
            if found:
                _title(f"round {where.removeprefix('rounds/')}")
                _show_responses(workdir, example, "own", f"{where}/own-responses", f"{where}/own-verdicts.jsonl")
            for selection in found:
                _show_selection(selection, encoder)


def _show_responses(workdir: Workdir, example: Example, origin: str, folder: str = "", path: str = "") -> None:
    """Those in ``folder`` with their verdicts in ``path``; where none is given, those sampled from the base."""
    folder, path = folder or f"responses/{origin}", path or f"verdicts/{origin}.jsonl"
    responses = [r for r in read_shards(workdir, Response, folder) if r.example_id == example.id]
    verdicts = {}
    if responses and (workdir / path).exists():
        verdicts = {v.index: v for v in workdir.read_records(Verdict, path) if v.example_id == example.id}
    for response in responses:
        how = "ended" if response.ended else "CUT by the length limit"
        given = f" (the first {response.given} are gold's)" if response.given else ""
        how += {"": "", "same": ", ENCODED from text", "changed": ", ENCODED to ids of another text"}[response.encoded]
        tokens = f"{len(response.response_ids)} tokens{given}"
        likelihood = "log p not known" if response.logprob is None else f"log p {response.logprob:.2f}"
        _title(f"{origin} {response.index}: {how}, {tokens}, {likelihood}")
        _show_text(response)
        if response.index in verdicts:
            _show_verdict(verdicts[response.index])


def _show_text(response: Response) -> None:
    """The answer, behind a thought with its marks."""
    say(response.thought + response.text)


def _show_verdict(verdict: Verdict) -> None:
    say(f"-> {verdict.outcome} by {verdict.judge}; found {verdict.found!r}; {verdict.reason}")


def _show_selection(selection: Selection, encoder: PromptEncoder | None) -> None:
    _title(f"{selection.method} trains on {selection.origin}  ({selection.reason})")
    weights = [0] * len(selection.prompt_ids) + [1] * len(selection.response_ids)
    ids = selection.prompt_ids + selection.response_ids
    texts = [repr(encoder.token_text(i)) if encoder else "" for i in ids]
    say("weight  id     token")
    for weight, token, text in zip(weights, ids, texts, strict=True):
        say(f"{weight:>6}  {token:<6} {text}")


def _show_answer(workdir: Workdir, place: str, example: Example) -> None:
    for response in read_shards(workdir, Response, f"{place}/{example.split}-responses"):
        if response.example_id == example.id:
            _title(f"answer of {place.removeprefix('scores/')}")
            _show_text(response)
            for verdict in workdir.read_records(Verdict, f"{place}/{example.split}-verdicts.jsonl"):
                if verdict.example_id == example.id:
                    _show_verdict(verdict)
