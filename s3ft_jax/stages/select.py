"""Stage: examples, responses and verdicts -> selections/METHOD.jsonl: what each example is trained on."""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from s3ft_jax.batches import hash_order
from s3ft_jax.progress import say
from s3ft_jax.prompts import PromptEncoder
from s3ft_jax.records import SAMPLED, Example, Likelihood, Origin, Response, Selection, Verdict
from s3ft_jax.rungs import Rung, count_rungs, pass_rates
from s3ft_jax.selection import METHODS, PICKS, Gold, less_likely, num_replayed, select, weighs
from s3ft_jax.shards import read_shards
from s3ft_jax.stages.launch import BASE
from s3ft_jax.workdir import Workdir, WorkdirError

GATE = "gate"
"""Name of the stage that scores for the gate, in ``manifests/``."""
GATED: Origin = "paraphrase"
GATES = ("", "likelier")
LIKELIHOODS = f"likelihoods/{GATED}"
REPLAY = "prepare-replay"
"""Name of the stage that prepares general rows, in ``manifests/``."""
REPLAYED = "examples/replay.jsonl"


def key(method: str) -> str:
    """Name of the stage in ``manifests/``."""
    return f"select-{method}"


def check_settings(config: ConfigDict) -> None:
    """Refuse settings that cannot be, before anything is sampled.

    Raises:
      WorkdirError: names the key of the section ``select`` and the choices.
    """
    own = config.select
    for name, value, choices in (("pick", own.pick, PICKS), ("paraphrase_gate", own.paraphrase_gate, GATES)):
        if value not in choices:
            raise WorkdirError(f"select.{name} = {value!r}; choose from {', '.join(c or '(empty)' for c in choices)}")
    if own.max_targets < 0:
        raise WorkdirError(f"select.max_targets = {own.max_targets} is below 0; use 0 for all")


def is_gated(config: ConfigDict) -> bool:
    """Whether right paraphrases must be likelier than gold too."""
    return bool(config.select.paraphrase_gate)


def read_refusals(config: ConfigDict, workdir: Workdir) -> dict[str, dict[tuple[Origin, int], str]]:
    """Example id -> (origin, index) -> why the gate refuses it; nothing where there is no gate."""
    return less_likely(read_shards(workdir, Likelihood, LIKELIHOODS)) if is_gated(config) else {}


def encode_gold(encoder: PromptEncoder, example: Example) -> Gold:
    """Plain question and gold answer as ids."""
    return Gold(
        encoder.encode_prompt(example.messages, example.id),
        encoder.encode_response(example.messages, example.gold, example.id),
    )


def check_prompts(gold: Mapping[str, Gold], responses: Sequence[Response]) -> None:
    """The prompt trained on must be the prompt the own answer was sampled from, id for id.

    So must that of a repair that continues gold, and what it was given must be the beginning of gold's ids.
    """
    for response in responses:
        mine = gold[response.example_id]
        plain = response.origin == "own" or response.given > 0
        begun = response.response_ids[: response.given]
        if (plain and response.prompt_ids != mine.prompt_ids) or begun != mine.response_ids[: response.given]:
            what = "own answer" if response.origin == "own" else response.origin
            raise WorkdirError(
                f"{response.example_id}: the {what} was sampled from other prompt ids than now; "
                "the tokenizer or its chat template has changed. Sample again in a new --workdir."
            )


def check_likelihoods(config: ConfigDict, method: str, responses: Mapping[str, Sequence[Response]]) -> None:
    """A method that chooses the likeliest of several responses needs to know how likely any of them is.

    Raises:
      WorkdirError: an outside engine gave no log-probability of a single one.
    """
    for origin in METHODS[method].prefer:
        if weighs([method], origin, config.select.pick):
            mine = [[r.logprob for r in some if r.origin == origin] for some in responses.values()]
            if any(len(some) > 1 for some in mine) and not any(one is not None for some in mine for one in some):
                raise WorkdirError(
                    f"method {method} chooses the likeliest {origin} response, but the outside engine that sampled "
                    "them gave no log-probabilities. Set select.pick to first or diverse, or sample by our own engine."
                )


def settings_of(config: ConfigDict, method: str) -> dict[str, Any]:
    """The settings that the targets of one method follow from."""
    rule = METHODS[method]
    settings: dict[str, Any] = {"method": method, "pick": config.select.pick}
    if rule.keep_all and config.select.max_targets:
        settings["max_targets"] = config.select.max_targets
    if GATED in rule.prefer and is_gated(config):
        settings["paraphrase_gate"] = config.select.paraphrase_gate
    if rule.replay:
        settings["replay"] = {"frac": config.replay.frac, "seed": config.replay.seed}
    return settings


def run(config: ConfigDict, workdir: Workdir, method: str, *, redo: bool = False) -> None:
    """Select one target per example for one method.

    Raises:
      WorkdirError: a setting that cannot be, prompt ids other than at sampling, or too few general rows.
    """
    check_settings(config)
    settings = settings_of(config, method)
    origins = [origin for origin in METHODS[method].prefer if origin in SAMPLED]
    reads = ["import", "prepare"] + [f"{stage}-{origin}" for origin in origins for stage in ("sample", "judge")]
    reads += [GATE] if "paraphrase_gate" in settings else []
    reads += [REPLAY] if METHODS[method].replay else []
    name = f"selections/{method}.jsonl"
    with workdir.stage(key(method), settings=settings, reads=reads, writes=[name], redo=redo, first_only=True) as stage:
        if not stage.needed:
            return say(f"select {method}: already done")
        examples = workdir.read_records(Example, "examples/train.jsonl")
        encoder = PromptEncoder(str(workdir / BASE / "tokenizer"))
        responses, verdicts = read_responses(workdir, origins)
        selections = choose(config, workdir, method, examples, encoder, responses, verdicts)
        if METHODS[method].replay:
            selections += replay(config, workdir, method, len(examples), encoder)
        rungs = count_rungs(method, [example.id for example in examples], selections, responses)
        workdir.write_records(name, selections)
        stage.facts = dict(Counter(selection.origin for selection in selections))
        stage.facts["without"] = len({e.id for e in examples} - {selection.example_id for selection in selections})
        say(f"select {method}: " + ", ".join(f"{count} {name}" for name, count in stage.facts.items()))
        stage.facts |= _told(method, rungs, verdicts) | {"encoding": dict(encoder.counts)}


def read_responses(
    workdir: Workdir, origins: Sequence[Origin]
) -> tuple[dict[str, list[Response]], dict[str, dict[tuple[Origin, int], Verdict]]]:
    """Responses and verdicts of these origins, each by example id."""
    responses: dict[str, list[Response]] = defaultdict(list)
    verdicts: dict[str, dict[tuple[Origin, int], Verdict]] = defaultdict(dict)
    for origin in origins:
        for response in read_shards(workdir, Response, f"responses/{origin}"):
            responses[response.example_id].append(response)
        for verdict in workdir.read_records(Verdict, f"verdicts/{origin}.jsonl"):
            verdicts[verdict.example_id][verdict.origin, verdict.index] = verdict
    return responses, verdicts


def choose(
    config: ConfigDict,
    workdir: Workdir,
    method: str,
    examples: Sequence[Example],
    encoder: PromptEncoder,
    responses: Mapping[str, Sequence[Response]],
    verdicts: Mapping[str, Mapping[tuple[Origin, int], Verdict]],
) -> list[Selection]:
    """The targets of all examples under one method."""
    check_likelihoods(config, method, responses)
    gold = {example.id: encode_gold(encoder, example) for example in examples}
    check_prompts(gold, [response for mine in responses.values() for response in mine])
    gated = read_refusals(config, workdir) if GATED in METHODS[method].prefer else {}
    return [
        selection
        for example in examples
        for selection in select(
            example,
            method,
            gold[example.id],
            responses.get(example.id, ()),
            verdicts.get(example.id, {}),
            pick=config.select.pick,
            max_targets=config.select.max_targets,
            gated=gated.get(example.id),
        )
    ]


def replay(
    config: ConfigDict, workdir: Workdir, method: str, num_examples: int, encoder: PromptEncoder
) -> list[Selection]:
    """A seeded draw of general rows, the same for every method of one ``train.max_length``; gold is encoded once, here.

    A row that would not fit a row of training is passed over, and said: there are more where it came from.

    Raises:
      WorkdirError: fewer rows that fit than ``replay.frac`` asks for.
    """
    rows = workdir.read_records(Example, REPLAYED)
    count = num_replayed(num_examples, config.replay.frac)
    check_replayed(count, len(rows), config.replay.frac)
    room = config.train.per_method.get(method, {}).get("max_length", config.train.max_length)
    drawn: list[Selection] = []
    num_long = 0
    for place in hash_order([row.id for row in rows], f"replay/{config.replay.seed}"):
        if len(drawn) == count:
            break
        row = rows[place]
        gold = encode_gold(encoder, row)
        if len(gold.prompt_ids) + len(gold.response_ids) > room:
            num_long += 1
            continue
        drawn.append(Selection(row.id, method, "replay", None, row.gold, gold.prompt_ids, gold.response_ids, "replay"))
    if num_long:
        say(f"select {method}: {num_long:,} general rows longer than train.max_length = {room} tokens were passed over")
    check_replayed(count, len(drawn), config.replay.frac, f" that fit train.max_length = {room}")
    return drawn


def check_replayed(wanted: int, there: int, frac: float, which: str = "") -> None:
    """Raise WorkdirError where fewer general rows are there than wanted; ``which`` is said behind their number."""
    if wanted > there:
        raise WorkdirError(
            f"replay.frac = {frac:g} asks for {wanted:,} general rows, but there are {there:,}{which} ({REPLAYED}). "
            "Give more rows in replay.data, raise replay.limit, or lower replay.frac."
        )


def _told(
    method: str, rungs: Mapping[Origin, Rung], verdicts: Mapping[str, Mapping[tuple[Origin, int], Verdict]]
) -> dict[str, Any]:
    """What the manifest says beside the counts: the rungs with their cost, and the pass rate of own answers."""
    facts: dict[str, Any] = {"rungs": {origin: dataclasses.asdict(rung) for origin, rung in rungs.items()}}
    if "own" in METHODS[method].prefer:
        facts["pass_rate"] = pass_rates(v for mine in verdicts.values() for v in mine.values() if v.origin == "own")
    return facts
