"""Stage: training examples -> responses/own, or responses/paraphrase and responses/repair for those that need one."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from ml_collections import ConfigDict

from s3ft_jax import repairs
from s3ft_jax.generation.sampling import Sampling
from s3ft_jax.progress import progress, say
from s3ft_jax.prompts import PromptEncoder
from s3ft_jax.records import Example, Origin, Response, Verdict
from s3ft_jax.responder import Ask, ResponseSettings, asks_of, sharing
from s3ft_jax.rungs import sampled_tokens
from s3ft_jax.selection import asked_after, refusal
from s3ft_jax.shards import Shards, Take, read_shards
from s3ft_jax.stages import sampler
from s3ft_jax.stages.select import GATE, GATED, encode_gold, is_gated, read_refusals
from s3ft_jax.workdir import Workdir

REPAIR = ("repair", "repair_frac", "repair_prompt")
"""Settings of ``sample`` that only repairs follow from."""
SEED_STRIDE = 2**32
"""Keeps the sampling seeds of runs' rounds away from any that a person would set; the key is a hash of the seed."""
NO_ROOM = "prompt and sample.max_new_tokens are longer than the model reads"
"""Why a question is not asked."""


def key(origin: Origin) -> str:
    """Name of the stage in ``manifests/``."""
    return f"sample-{origin}"


def settings_of(config: ConfigDict, origin: Origin) -> dict[str, Any]:
    """The settings that the responses of one origin follow from.

    Raises:
      RepairError: those of repairs cannot be used.
      WorkdirError: see ``sampler.settings_of``.
    """
    settings = sampler.settings_of(config)
    counts = {name: settings.pop(name) for name in ("num_own", "num_paraphrase", "num_repair")}
    own = {name: settings.pop(name) for name in REPAIR}
    settings["num_responses"] = counts[f"num_{origin}"]
    if origin == "repair":
        repairs.check_settings(own["repair"], own["repair_frac"], own["repair_prompt"])
        settings |= {"repair": own["repair"]}
        settings |= {name: own[name] for name in ("repair_frac",) if own["repair"] == "continue"}
        settings |= {name: own[name] for name in ("repair_prompt",) if own["repair"] == "mend"}
    if origin != "own":
        after = asked_after(config.methods, origin)
        told = {None: "none", (): "all", ("own",): "unsolved"}
        settings["for"] = told[after] if after in told else f"unsolved by {', '.join(after)}"
    return settings


def reads_of(config: ConfigDict, origin: Origin) -> list[str]:
    """The stages that decide who is asked, and what."""
    after = asked_after(config.methods, origin) or ()
    if origin == "own":
        after = ()
    gated = [GATE] if is_gated(config) and GATED in after else []
    return ["import", "prepare", *(f"judge-{other}" for other in after), *gated]


def wanted(config: ConfigDict, workdir: Workdir, origin: Origin) -> list[Example]:
    """The training examples to ask: all for own; else those that the methods need and that are not solved yet."""
    examples = workdir.read_records(Example, "examples/train.jsonl")
    if origin == "own":
        return examples
    after = asked_after(config.methods, origin)
    if after is None:
        return []
    if origin == "paraphrase":
        examples = [example for example in examples if example.paraphrase_messages]
    solved = set().union(*(_solved(config, workdir, other) for other in after))
    return [example for example in examples if example.id not in solved]


def _solved(config: ConfigDict, workdir: Workdir, origin: Origin) -> set[str]:
    """The examples that have a response of this origin which may be trained on."""
    verdicts: dict[str, dict] = defaultdict(dict)
    for verdict in workdir.read_records(Verdict, f"verdicts/{origin}.jsonl"):
        verdicts[verdict.example_id][verdict.origin, verdict.index] = verdict
    gated = read_refusals(config, workdir) if origin == GATED else {}
    return {
        response.example_id
        for response in read_shards(workdir, Response, f"responses/{origin}")
        if refusal(response, verdicts[response.example_id], gated=gated.get(response.example_id)) is None
    }


def run(config: ConfigDict, workdir: Workdir, origin: Origin, *, redo: bool = False) -> None:
    """Sample, one shard after the other; shards already there are kept."""
    settings, reads = settings_of(config, origin), reads_of(config, origin)
    with workdir.stage(
        key(origin), settings=settings, reads=reads, writes=[f"responses/{origin}-*.jsonl"], redo=redo
    ) as stage:
        if not stage.needed:
            return say(f"sample {origin}: already done")
        examples = wanted(config, workdir, origin)
        writer = sampler.open_sampler(config, workdir)
        responses, left = _sample(config, workdir, origin, examples, settings["num_responses"], writer)
        ended = sum(response.ended for response in responses)
        stage.facts = {
            "responses": len(responses),
            "ended": ended,
            "cut": len(responses) - ended,
            "tokens": sampled_tokens(responses),
        } | writer.facts(responses)
        if left:
            stage.facts["left"] = dict(left)
        say(f"sample {origin}: {len(responses)} responses, {len(responses) - ended} cut by the length limit")
        for reason, count in left.items():
            say(f"sample {origin}: {count} questions not asked: {reason}")


def response_settings(config: ConfigDict, count: int, current: tuple[int, int] = (0, 0)) -> ResponseSettings:
    """How ``count`` responses to each training question are sampled.

    Args:
      config: its ``sample``.
      count: responses to each question.
      current: the round and the seed of the run that it is of; round 0 is before training, and all runs share it.
        Runs with different seeds draw differently: what they share would be missing in the spread between them.
    """
    sample, (number, run_seed) = config.sample, current
    return ResponseSettings(
        sampling=Sampling(sample.temperature, sample.top_k, sample.top_p, sample.min_p, sample.repetition_penalty),
        max_new_tokens=sample.max_new_tokens,
        seed=sample.seed + (run_seed * SEED_STRIDE if number else 0),
        num_responses=count,
        first_index=number * count,
        engine=sampler.engine_settings(config),
        stop=tuple(sample.stop),
    )


def answer_settings(config: ConfigDict, temperature: float) -> ResponseSettings:
    """How test and validation questions are answered."""
    return ResponseSettings(
        sampling=Sampling(temperature=temperature),
        max_new_tokens=config.evaluate.max_new_tokens,
        seed=config.sample.seed,
        engine=sampler.engine_settings(config),
        stop=tuple(config.evaluate.stop),
    )


def _sample(
    config: ConfigDict, workdir: Workdir, origin: Origin, examples: list[Example], count: int, writer: sampler.Sampler
) -> tuple[list[Response], Counter[str]]:
    """The responses, and the questions that could not be asked, by reason."""
    settings = response_settings(config, count)
    if origin == "repair":
        asked, left = repair_asks(config, workdir, examples, writer.encoder, writer.max_positions)
    else:
        asked, left = askable(asks_of(examples, origin, writer.encoder), config, writer.max_positions)
    asked = sharing(asked, examples)
    size = config.sample.shard_size
    parts = [asked[i : i + size] for i in range(0, len(asked), size)]
    shards = Shards(workdir, Response, f"responses/{origin}", len(parts), together=writer.together)
    with progress(f"sample {origin}", count * sum(len(parts[shard]) for shard in shards.missing)) as ticker:

        def make(numbers: list[int], take: Take) -> None:
            writer.answer([parts[shard] for shard in numbers], origin, settings, take, ticker.from_here())

        made = shards.all(make)
    return made, left


def askable(asks: Sequence[Ask], config: ConfigDict, max_positions: int) -> tuple[list[Ask], Counter[str]]:
    """Those that have room for a response in what the model reads, and how many have not, by reason."""
    room = max_positions - config.sample.max_new_tokens
    kept = [ask for ask in asks if len(ask.prompt_ids) <= room]
    return kept, Counter({NO_ROOM: len(asks) - len(kept)} if len(kept) < len(asks) else {})


def repair_asks(
    config: ConfigDict, workdir: Workdir, examples: Sequence[Example], encoder: PromptEncoder, max_positions: int
) -> tuple[list[Ask], Counter[str]]:
    """What is asked for a repair of each example, and how many cannot be asked, by reason.

    Args:
      config, workdir: of the run.
      examples: to be repaired.
      encoder: messages <-> token ids.
      max_positions: longest sequence that the model reads, tokens.
    """
    sample = config.sample
    wrong = _wrong_answers(workdir) if sample.repair == "mend" else {}
    asks: list[Ask] = []
    left: Counter[str] = Counter()
    for example in examples:
        if sample.repair == "mend":
            made = _ask_to_mend(example, wrong.get(example.id), sample.repair_prompt, encoder)
        else:
            made = _ask_to_continue(example, sample.repair_frac, encoder)
        if isinstance(made, str):
            left[made] += 1
        elif len(made.given_ids) >= sample.max_new_tokens:
            left["the beginning of gold is as long as sample.max_new_tokens"] += 1
        elif len(made.prompt_ids) + sample.max_new_tokens > max_positions:
            left[NO_ROOM] += 1
        else:
            asks.append(made)
    return asks, left


def _ask_to_continue(example: Example, frac: float, encoder: PromptEncoder) -> Ask | str:
    gold = encode_gold(encoder, example)
    content = gold.response_ids[:-1]  # the end token is the last one
    number = repairs.cut(content, encoder.decode_response, frac)
    return "gold has no border to cut at" if number is None else Ask(example.id, gold.prompt_ids, content[:number])


def _ask_to_mend(example: Example, wrong: str | None, prompt: str, encoder: PromptEncoder) -> Ask | str:
    if wrong is None:
        return "no whole own answer was found wrong"
    messages = repairs.mend_messages(example.messages, example.gold, wrong, prompt)
    return Ask(example.id, encoder.encode_prompt(messages, example.id))


def _wrong_answers(workdir: Workdir) -> dict[str, str]:
    """Example id -> the text of its first own answer that ended and was found wrong."""
    outcomes = {(v.example_id, v.index): v.outcome for v in workdir.read_records(Verdict, "verdicts/own.jsonl")}
    wrong: dict[str, str] = {}
    for response in read_shards(workdir, Response, "responses/own"):
        if response.ended and outcomes.get((response.example_id, response.index)) == "wrong":
            wrong.setdefault(response.example_id, response.text)
    return wrong
