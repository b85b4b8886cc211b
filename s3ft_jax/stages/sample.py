"""Stage: training examples -> responses/own, or responses/paraphrase for those that need one."""

from __future__ import annotations

from ml_collections import ConfigDict

from s3ft_jax.generation.sampling import Sampling
from s3ft_jax.progress import progress, say
from s3ft_jax.records import Example, Origin, Response, Verdict
from s3ft_jax.responder import ResponseSettings, respond
from s3ft_jax.selection import needs_paraphrase
from s3ft_jax.stages.launch import load_model, plain_settings
from s3ft_jax.workdir import Workdir


def key(origin: Origin) -> str:
    """Name of the stage in ``manifests/``."""
    return f"sample-{origin}"


def wanted(config: ConfigDict, workdir: Workdir, origin: Origin) -> list[Example]:
    """The training examples to ask: all for own; for paraphrase those that the methods need."""
    examples = workdir.read_records(Example, "examples/train.jsonl")
    if origin == "own":
        return examples
    examples = [example for example in examples if example.paraphrase_messages]
    need = needs_paraphrase(config.methods)
    if need == "unsolved":
        verdicts = workdir.read_records(Verdict, "verdicts/own.jsonl")
        solved = {verdict.example_id for verdict in verdicts if verdict.outcome == "right"}
        examples = [example for example in examples if example.id not in solved]
    return examples if need != "none" else []


def run(config: ConfigDict, workdir: Workdir, origin: Origin, *, redo: bool = False) -> None:
    """Sample, one shard after the other; shards already there are kept."""
    settings = plain_settings(config.sample)
    counts = {"own": settings.pop("num_own"), "paraphrase": settings.pop("num_paraphrase")}
    settings["num_responses"] = count = counts[origin]
    reads = ["import", "prepare"]
    if origin == "paraphrase":
        settings["for"] = needs_paraphrase(config.methods)
        reads += ["judge-own"] if settings["for"] == "unsolved" else []
    with workdir.stage(
        key(origin), settings=settings, reads=reads, writes=[f"responses/{origin}-*.jsonl"], redo=redo
    ) as stage:
        if not stage.needed:
            return say(f"sample {origin}: already done")
        examples = wanted(config, workdir, origin)
        responses = _sample(config, workdir, origin, examples, count)
        ended = sum(response.ended for response in responses)
        stage.facts = {
            "responses": len(responses),
            "ended": ended,
            "cut": len(responses) - ended,
            "tokens": sum(len(response.response_ids) for response in responses),
        }
        say(f"sample {origin}: {len(responses)} responses, {len(responses) - ended} cut by the length limit")


def _sample(
    config: ConfigDict, workdir: Workdir, origin: Origin, examples: list[Example], count: int
) -> list[Response]:
    sample = config.sample
    model = load_model(workdir)
    settings = ResponseSettings(
        sampling=Sampling(sample.temperature, sample.top_k, sample.top_p, sample.min_p),
        max_new_tokens=sample.max_new_tokens,
        seed=sample.seed,
        num_responses=count,
        num_slots=sample.num_slots,
        chunk_steps=sample.chunk_steps,
    )
    shards = [examples[i : i + sample.shard_size] for i in range(0, len(examples), sample.shard_size)]
    with progress(f"sample {origin}", len(examples) * count) as ticker:

        def make(shard: int) -> list[Response]:
            return respond(
                shards[shard],
                origin,
                graphdef=model.graphdef,
                params=model.params,
                config=model.config,
                encoder=model.encoder,
                settings=settings,
                on_progress=ticker.from_here(),
            )

        return workdir.sharded(Response, f"responses/{origin}", len(shards), make)
