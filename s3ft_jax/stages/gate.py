"""Stage: gold and right paraphrases -> likelihoods/paraphrase: how likely the base finds each, for the gate in select.

All are scored as answers to the plain question, which is how they would be trained on. The log-probability kept at
sampling cannot be used: the paraphrase prompt shows gold. Only where ``select.paraphrase_gate`` is set.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from ml_collections import ConfigDict

from s3ft_jax.progress import progress, say
from s3ft_jax.records import Example, Likelihood, Response, Verdict
from s3ft_jax.responder import Model, scorer_of
from s3ft_jax.selection import less_likely, refusal
from s3ft_jax.shards import Shards, Take, read_shards
from s3ft_jax.stages.launch import load_model, spans_hosts
from s3ft_jax.stages.sampler import engine_settings
from s3ft_jax.stages.select import GATE, GATED, LIKELIHOODS, check_settings, encode_gold, is_gated
from s3ft_jax.workdir import Workdir, WorkdirError

KEY = GATE


def run(config: ConfigDict, workdir: Workdir, *, redo: bool = False) -> None:
    """Score them, one shard after the other; shards already there are kept.

    Raises:
      WorkdirError: no gate is set, or there is no such gate.
    """
    check_settings(config)
    if not is_gated(config):
        raise WorkdirError("select.paraphrase_gate is empty, so no paraphrase has to be scored; set it to `likelier`")
    engine = engine_settings(config)
    together = spans_hosts(engine, workdir)
    with workdir.stage(
        KEY,
        settings={"batch_tokens": config.evaluate.batch_tokens},
        reads=["import", "prepare", f"judge-{GATED}"],
        writes=[f"{LIKELIHOODS}-*.jsonl"],
        redo=redo,
        first_only=not together,
    ) as stage:
        if not stage.needed:
            return say("gate: already done")
        examples, right = right_ones(workdir)
        model = load_model(workdir, engine=engine if together else None)
        size = config.sample.shard_size
        parts = [examples[i : i + size] for i in range(0, len(examples), size)]
        shards = Shards(workdir, Likelihood, LIKELIHOODS, len(parts), together=together)
        missing = [example for shard in shards.missing for example in parts[shard]]
        with progress("gate", sum(len(right[e.id]) + 1 for e in missing)) as ticker:

            def make(numbers: list[int], take: Take) -> None:
                for place, shard in enumerate(numbers):
                    made = score(parts[shard], right, model, config.evaluate.batch_tokens)
                    ticker.advance(len(made))
                    take(place, made)

            likelihoods = shards.all(make)
        number = sum(len(responses) for responses in right.values())
        refused = Counter(reason for mine in less_likely(likelihoods).values() for reason in mine.values())
        stage.facts = {
            "right": number,
            "refused": dict(refused),
            "tokens": sum(one.tokens for one in likelihoods if one.logprob is not None),
        }
        told = "".join(f"; {count} {reason}" for reason, count in sorted(refused.items()))
        say(f"gate: {number} right paraphrases, {refused.total()} refused{told}")


def right_ones(workdir: Workdir) -> tuple[list[Example], dict[str, list[Response]]]:
    """The examples with a paraphrase that may be trained on, and these paraphrases by example id."""
    verdicts = {(v.example_id, v.index): v for v in workdir.read_records(Verdict, f"verdicts/{GATED}.jsonl")}
    right: dict[str, list[Response]] = {}
    for response in read_shards(workdir, Response, f"responses/{GATED}"):
        verdict = verdicts.get((response.example_id, response.index))
        if verdict is not None and refusal(response, {(GATED, response.index): verdict}) is None:
            right.setdefault(response.example_id, []).append(response)
    examples = [example for example in workdir.read_records(Example, "examples/train.jsonl") if example.id in right]
    return examples, right


def score(
    examples: Sequence[Example], right: Mapping[str, Sequence[Response]], model: Model, batch_tokens: int
) -> list[Likelihood]:
    """Gold first, then the paraphrases of each example; a text that does not fit the model has no number."""
    prompts: list[tuple[int, ...]] = []
    texts: list[tuple[str, str, int | None, tuple[int, ...]]] = []
    for example in examples:
        gold = encode_gold(model.encoder, example)
        texts.append((example.id, "gold", None, gold.response_ids))
        texts += [(example.id, GATED, response.index, response.response_ids) for response in right[example.id]]
        prompts += [gold.prompt_ids] * (1 + len(right[example.id]))
    fits = [len(p) + len(t[-1]) <= model.config.max_positions for p, t in zip(prompts, texts, strict=True)]
    scorer = scorer_of(model, batch_tokens)
    kept = [place for place, fit in enumerate(fits) if fit]
    found = scorer.logprobs(model.params, [prompts[i] for i in kept], [texts[i][-1] for i in kept])
    sums = {place: float(np.sum(values, dtype=np.float64)) for place, values in zip(kept, found, strict=True)}
    return [
        Likelihood(example_id, origin, index, sums.get(place), len(ids))
        for place, (example_id, origin, index, ids) in enumerate(texts)
    ]
