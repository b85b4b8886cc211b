"""Stage: responses -> verdicts. Host only: JAX is never imported, so it starts in a second and runs on any machine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ml_collections import ConfigDict

from s3ft_jax.judges.leaks import mentions_reference
from s3ft_jax.judges.pool import judge_all
from s3ft_jax.judges.sandbox import probe
from s3ft_jax.progress import progress, say
from s3ft_jax.records import Example, Origin, Response, Verdict
from s3ft_jax.stages.launch import plain_settings
from s3ft_jax.workdir import Workdir


def key(origin: Origin) -> str:
    """Name of the stage in ``manifests/``."""
    return f"judge-{origin}"


def describe_sandbox(config: ConfigDict, examples: Sequence[Example]) -> str:
    """The sandbox that judges these examples, in words for the log and the report; empty if no program is run.

    Raises:
      SandboxUnavailable: programs cannot be run safely here, and ``judge.unsafe`` is False.
    """
    if not any(example.judge == "programs" for example in examples):
        return ""
    level = probe(unsafe=config.judge.unsafe)
    return f"{level.name}: {level.protects}." + (f" Not protected: {level.missing}." if level.missing else "")


def check_sandbox(config: ConfigDict, workdir: Workdir) -> None:
    """Find the sandbox before hours of sampling, not after."""
    found = describe_sandbox(config, workdir.read_records(Example, "examples/train.jsonl"))
    if found:
        say(f"sandbox: {found}")


def judge_responses(
    config: ConfigDict, examples: Sequence[Example], responses: Sequence[Response], title: str
) -> list[Verdict]:
    """One verdict per response, in order. A paraphrase that gives its source away counts as wrong, by option."""
    by_id = {example.id: example for example in examples}
    with progress(title, len(responses)) as ticker:
        verdicts = judge_all(
            [(by_id[response.example_id], response) for response in responses],
            num_workers=config.judge.num_workers or None,
            unsafe=config.judge.unsafe,
            on_progress=ticker.from_here(),
        )
    if not config.judge.leak_filter:
        return verdicts
    return [_leak(response, verdict) for response, verdict in zip(responses, verdicts, strict=True)]


def _leak(response: Response, verdict: Verdict) -> Verdict:
    phrase = mentions_reference(response.text) if response.origin == "paraphrase" else None
    if phrase is None or verdict.outcome != "right":
        return verdict
    return Verdict(**{**verdict.__dict__, "outcome": "wrong", "reason": f"leak: mentions {phrase!r}"})


def run(config: ConfigDict, workdir: Workdir, origin: Origin, *, redo: bool = False) -> None:
    """Judge all responses of one origin."""
    settings = plain_settings(config.judge)
    settings.pop("num_workers")
    with workdir.stage(
        key(origin),
        settings=settings,
        reads=["prepare", f"sample-{origin}"],
        writes=[f"verdicts/{origin}.jsonl"],
        redo=redo,
    ) as stage:
        if not stage.needed:
            return say(f"judge {origin}: already done")
        examples = workdir.read_records(Example, "examples/train.jsonl")
        responses = workdir.read_shards(Response, f"responses/{origin}")
        verdicts = judge_responses(config, examples, responses, f"judge {origin}")
        workdir.write_records(f"verdicts/{origin}.jsonl", verdicts)
        stage.facts = dict(Counter(verdict.outcome for verdict in verdicts))
        say(f"judge {origin}: " + ", ".join(f"{n} {outcome}" for outcome, n in sorted(stage.facts.items())))
        stage.facts["sandbox"] = describe_sandbox(config, examples)
