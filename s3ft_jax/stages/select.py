"""Stage: examples, responses and verdicts -> selections/METHOD.jsonl: what each example is trained on."""

from __future__ import annotations

from collections import Counter, defaultdict

from ml_collections import ConfigDict

from s3ft_jax.progress import say
from s3ft_jax.prompts import PromptEncoder
from s3ft_jax.records import Example, Response, Selection, Verdict
from s3ft_jax.selection import METHODS, Gold, select
from s3ft_jax.stages.launch import BASE
from s3ft_jax.workdir import Workdir, WorkdirError


def key(method: str) -> str:
    """Name of the stage in ``manifests/``."""
    return f"select-{method}"


def encode_gold(encoder: PromptEncoder, example: Example) -> Gold:
    """Plain question and gold answer as ids."""
    return Gold(
        encoder.encode_prompt(example.messages, example.id),
        encoder.encode_response(example.messages, example.gold, example.id),
    )


def check_prompts(gold: dict[str, Gold], responses: list[Response]) -> None:
    """The prompt trained on must be the prompt the own answer was sampled from, id for id."""
    for response in responses:
        if response.origin == "own" and response.prompt_ids != gold[response.example_id].prompt_ids:
            raise WorkdirError(
                f"{response.example_id}: the own answer was sampled from other prompt ids than now; "
                "the tokenizer or its chat template has changed. Sample again in a new --workdir."
            )


def run(config: ConfigDict, workdir: Workdir, method: str, *, redo: bool = False) -> None:
    """Select one target per example for one method."""
    origins = [origin for origin in METHODS[method].prefer if origin != "gold"]
    reads = ["import", "prepare"] + [f"{stage}-{origin}" for origin in origins for stage in ("sample", "judge")]
    settings = {"method": method, "pick": config.select.pick}
    name = f"selections/{method}.jsonl"
    with workdir.stage(key(method), settings=settings, reads=reads, writes=[name], redo=redo) as stage:
        if not stage.needed:
            return say(f"select {method}: already done")
        examples = workdir.read_records(Example, "examples/train.jsonl")
        encoder = PromptEncoder(str(workdir / BASE / "tokenizer"))
        gold = {example.id: encode_gold(encoder, example) for example in examples}
        responses: dict[str, list[Response]] = defaultdict(list)
        verdicts: dict[str, dict] = defaultdict(dict)
        for origin in origins:
            for response in workdir.read_shards(Response, f"responses/{origin}"):
                responses[response.example_id].append(response)
            for verdict in workdir.read_records(Verdict, f"verdicts/{origin}.jsonl"):
                verdicts[verdict.example_id][verdict.origin, verdict.index] = verdict
        check_prompts(gold, [response for mine in responses.values() for response in mine])
        selections: list[Selection] = []
        without = []
        for example in examples:
            chosen = select(
                example, method, gold[example.id], responses[example.id], verdicts[example.id], config.select.pick
            )
            selections += chosen
            without += [] if chosen else [example.id]
        workdir.write_records(name, selections)
        stage.facts = dict(Counter(selection.origin for selection in selections)) | {"without": len(without)}
        say(f"select {method}: " + ", ".join(f"{count} {name}" for name, count in stage.facts.items()))
        stage.facts["encoding"] = dict(encoder.counts)
