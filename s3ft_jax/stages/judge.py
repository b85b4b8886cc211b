"""Stage: responses -> verdicts. Host only: JAX is never imported, so it starts in a second and runs on any machine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from ml_collections import ConfigDict

from s3ft_jax.judges.cache import VerdictCache, judge_cached, limits_version
from s3ft_jax.judges.leaks import mentions_reference
from s3ft_jax.judges.sandbox import probe
from s3ft_jax.progress import progress, say
from s3ft_jax.records import Example, Origin, Response, Verdict
from s3ft_jax.stages.launch import plain_settings
from s3ft_jax.workdir import Workdir

CACHE = "cache/verdicts"
UNSETTLING = ("num_workers", "cache")
"""Settings of ``judge`` that change no verdict."""


def settings_of(config: ConfigDict) -> dict[str, Any]:
    """The settings of ``judge`` that a verdict follows from."""
    return {name: value for name, value in plain_settings(config.judge).items() if name not in UNSETTLING}


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


def open_cache(config: ConfigDict, workdir: Workdir, examples: Sequence[Example]) -> VerdictCache:
    """The verdicts kept in the workdir; with ``judge.cache`` off, one that knows nothing and writes nothing.

    Raises:
      CacheError: a file of the cache is damaged.
      SandboxUnavailable: see ``describe_sandbox``.
    """
    programs = any(example.judge == "programs" for example in examples)
    version = limits_version(probe(unsafe=config.judge.unsafe).name) if programs else ""
    if not config.judge.cache:
        return VerdictCache(version)
    files = {name: (workdir / name).read_text() for name in workdir.matching([f"{CACHE}/*.jsonl"])}
    return VerdictCache(version, files, lambda name, data: workdir.write_bytes(f"{CACHE}/{name}", data))


def judge_responses(
    config: ConfigDict, workdir: Workdir, examples: Sequence[Example], responses: Sequence[Response], title: str
) -> list[Verdict]:
    """One verdict per response, in order. A paraphrase that gives its source away counts as wrong, by option."""
    by_id = {example.id: example for example in examples}
    with progress(title, len(responses)) as ticker:
        verdicts, _ = judge_cached(
            [(by_id[response.example_id], response) for response in responses],
            open_cache(config, workdir, examples),
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
    with workdir.stage(
        key(origin),
        settings=settings_of(config),
        reads=["prepare", f"sample-{origin}"],
        writes=[f"verdicts/{origin}.jsonl"],
        redo=redo,
    ) as stage:
        if not stage.needed:
            return say(f"judge {origin}: already done")
        examples = workdir.read_records(Example, "examples/train.jsonl")
        responses = workdir.read_shards(Response, f"responses/{origin}")
        verdicts = judge_responses(config, workdir, examples, responses, f"judge {origin}")
        workdir.write_records(f"verdicts/{origin}.jsonl", verdicts)
        stage.facts = dict(Counter(verdict.outcome for verdict in verdicts))
        say(f"judge {origin}: " + ", ".join(f"{n} {outcome}" for outcome, n in sorted(stage.facts.items())))
        stage.facts["sandbox"] = describe_sandbox(config, examples)
