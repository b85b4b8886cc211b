"""Part of ``train``: a checkpoint in the middle of a run -> own answers anew, their verdicts, and new selections."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from jax.sharding import Mesh
from ml_collections import ConfigDict

from s3ft_jax import rounds
from s3ft_jax.models.decoder import Decoder
from s3ft_jax.processes import alone
from s3ft_jax.progress import progress, say
from s3ft_jax.prompts import PromptEncoder
from s3ft_jax.records import SAMPLED, Example, Response, Selection, Verdict
from s3ft_jax.responder import Model, answer_shards, asks_of, sharing
from s3ft_jax.rungs import pass_rates, sampled_tokens
from s3ft_jax.selection import METHODS
from s3ft_jax.shards import Shards, Take, read_shards
from s3ft_jax.stages import sample, select
from s3ft_jax.stages.judge import judge_responses, with_noise
from s3ft_jax.stages.launch import BASE, mesh_to_sample
from s3ft_jax.stages.sampler import engine_settings
from s3ft_jax.variants import method_of
from s3ft_jax.workdir import Workdir


def key(method: str, seed: int, number: int) -> str:
    """Name of the stage in ``manifests/``."""
    return f"refresh-{method}-seed-{seed}-{number}"


def folder(method: str, seed: int, number: int) -> str:
    """Where a round's answers, verdicts and selections lie, below the workdir."""
    return f"rounds/{method}/seed-{seed}/{number}"


def forget(workdir: Workdir, method: str, seed: int, step: int) -> None:
    """Remove the rounds that begin after ``step``: the model they were made with is to be trained again.

    All processes call this; the first one looks which they are.
    """
    found = []
    for name in workdir.matching([f"manifests/{key(method, seed, 0)[:-1]}*"]) if workdir.processes.is_first else ():
        # of a round that was begun only, too: a kill must not cost the shards that were sampled
        if workdir.read_json(name)["settings"]["step"] > step:
            found.append(name.removeprefix("manifests/").rsplit(".", 1)[0])
    for stage in workdir.processes.first(found, "rounds to be forgotten"):
        workdir.remove(stage, [folder(method, seed, int(stage.rsplit("-", 1)[1]))])


def run(
    config: ConfigDict,
    workdir: Workdir,
    method: str,
    seed: int,
    current: rounds.Round,
    before: Sequence[Selection],
    settings: dict[str, Any],
    load: Callable[[Mesh | None], Decoder],
) -> list[Selection]:
    """The selections of a round: all processes answer, the first judges and chooses.

    Args:
      config, workdir, method, seed: of the run.
      current: the round.
      before: selections of the round before. Only their questions are asked; replayed rows stay.
      settings: what the checkpoint follows from.
      load: mesh -> the model as it is when the round begins, adapters merged, its parameters there; called if the
        answers are not there yet.
    """
    where = folder(method, seed, current.number)
    reads = ["import", "prepare", select.key(method_of(method))]
    reads += [key(method, seed, current.number - 1)] if current.number > 1 else []
    with workdir.stage(
        key(method, seed, current.number),
        # before training an outside engine may have sampled; here it is always our own
        settings=settings | {"step": current.first, "engine": engine_settings(config).decisive},
        reads=reads,
        writes=[where],
    ) as stage:
        if stage.needed:
            wanted = {one.example_id for one in before if one.origin != "replay"}
            examples = [e for e in workdir.read_records(Example, "examples/train.jsonl") if e.id in wanted]
            new = _answer(config, workdir, method, seed, current, examples, load)
            if workdir.processes.is_first:  # the others wait for it at the end of the stage
                with alone():
                    stage.facts = _choose_anew(config, workdir, method, seed, current.number, examples, before, new)
                say(f"refresh {method} seed {seed}, round {current.number}: {describe(stage.facts)}")
    return workdir.read_records(Selection, f"{where}/selections.jsonl")


def describe(facts: dict[str, Any]) -> str:
    """``"62.5 % of own answers right; 80 own, 12 paraphrase, 36 gold; 91 targets changed"``"""
    counts = ", ".join(f"{count:,} {origin}" for origin, count in facts["origins"].items())
    return f"{facts['pass_rate']['mean']:.1%} of own answers right; {counts}; {facts['changed']:,} targets changed"


def _answer(
    config: ConfigDict,
    workdir: Workdir,
    method: str,
    seed: int,
    current: rounds.Round,
    examples: Sequence[Example],
    load: Callable[[Mesh | None], Decoder],
) -> list[Response]:
    """Own answers of the model as it is, in shards as when sampling before training."""
    decoder = load(mesh_to_sample(engine_settings(config), workdir))
    model = Model.of(decoder, PromptEncoder(str(workdir / BASE / "tokenizer")))
    settings = sample.response_settings(config, config.sample.num_own, (current.number, seed))
    size = config.sample.shard_size
    # those without room for an answer were counted when the base was asked
    asks, _ = sample.askable(asks_of(examples, "own", model.encoder), config, model.config.max_positions)
    asks = sharing(asks, examples)
    parts = [asks[i : i + size] for i in range(0, len(asks), size)]
    where = f"{folder(method, seed, current.number)}/own-responses"
    shards = Shards(workdir, Response, where, len(parts), together=model.spans_hosts)
    total = settings.num_responses * sum(len(parts[shard]) for shard in shards.missing)
    with progress(f"sample own, round {current.number}", total) as ticker:

        def make(numbers: list[int], take: Take) -> None:
            answer_shards([parts[shard] for shard in numbers], "own", model, settings, take, ticker.from_here())

        return shards.all(make)


def _choose_anew(
    config: ConfigDict,
    workdir: Workdir,
    method: str,
    seed: int,
    number: int,
    examples: Sequence[Example],
    before: Sequence[Selection],
    new: Sequence[Response],
) -> dict[str, Any]:
    """Verdicts on the new answers and the selections that follow, written; and what the manifest says of them."""
    where, title = folder(method, seed, number), f"judge own, round {number}"
    verdicts = with_noise(config, judge_responses(config, workdir, examples, new, title), title)
    workdir.write_records(f"{where}/own-verdicts.jsonl", verdicts)
    chosen = _choose(config, workdir, method, seed, number, examples)
    chosen += [one for one in before if one.origin == "replay"]
    workdir.write_records(f"{where}/selections.jsonl", chosen)
    return _told(before, chosen, new, verdicts)


def _choose(
    config: ConfigDict, workdir: Workdir, method: str, seed: int, number: int, examples: Sequence[Example]
) -> list[Selection]:
    """The targets of these examples, from the answers of all rounds."""
    origins = [origin for origin in METHODS[method_of(method)].prefer if origin in SAMPLED]
    responses, verdicts = select.read_responses(workdir, origins)
    for earlier in range(1, number + 1):
        where = folder(method, seed, earlier)
        for response in read_shards(workdir, Response, f"{where}/own-responses"):
            responses[response.example_id].append(response)
        for verdict in workdir.read_records(Verdict, f"{where}/own-verdicts.jsonl"):
            verdicts[verdict.example_id][verdict.origin, verdict.index] = verdict
    offered: dict[str, list[Response]] = defaultdict(list)
    for example in examples:
        mine = responses[example.id], verdicts[example.id]
        offered[example.id] = rounds.candidates(method_of(method), *mine, config.sample.num_own)
    encoder = PromptEncoder(str(workdir / BASE / "tokenizer"))
    return select.choose(config, workdir, method_of(method), examples, encoder, offered, verdicts)


def _told(
    before: Sequence[Selection], chosen: Sequence[Selection], new: Sequence[Response], verdicts: Sequence[Verdict]
) -> dict[str, Any]:
    """What the manifest and the report say of a round."""
    then, now = (Counter((one.example_id, one.response_ids) for one in some) for some in (before, chosen))
    return {
        "responses": len(new),
        "cut": sum(not response.ended for response in new),
        "tokens": sampled_tokens(new),
        "pass_rate": pass_rates(verdicts),
        "origins": dict(Counter(one.origin for one in chosen)),
        "changed": (now - then).total(),
    }
