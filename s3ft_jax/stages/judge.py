"""Stage: responses -> verdicts. Host only: JAX is never imported, so it starts in a second and runs on any machine."""

from __future__ import annotations

import dataclasses
import functools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from s3ft_jax.changes import flatten
from s3ft_jax.judges import check_name, expressions, model, pool, trial
from s3ft_jax.judges.composition import Pair, judge_composed, single_names
from s3ft_jax.judges.leaks import mentions_reference
from s3ft_jax.judges.model import MODEL
from s3ft_jax.judges.noise import disturb
from s3ft_jax.judges.sandbox import Limits, probe
from s3ft_jax.judges.verdict_cache import VerdictCache, judge_cached, source_version
from s3ft_jax.judges.verdicts import make_verdict
from s3ft_jax.progress import progress, say
from s3ft_jax.records import Example, Origin, Response, Verdict
from s3ft_jax.shards import read_shards
from s3ft_jax.stages import consult
from s3ft_jax.stages.launch import plain_settings
from s3ft_jax.thoughts import is_unfinished
from s3ft_jax.workdir import Workdir

CACHE = "cache/verdicts"
UNSETTLING = ("num_workers", "cache", "second", "model.num_parallel", "model.key_variable", "model.least_canaries")
"""Settings of ``judge`` that change no verdict of the judge's own; noise is laid on training verdicts alone."""


def settings_of(config: ConfigDict) -> dict[str, Any]:
    """The settings of ``judge`` that a verdict follows from; those of the model only where it is asked, and the source
    text of judges of one's own, so that an edited one is noticed."""
    asked = consult.is_asked(config)
    own = trial.own_judges(config.judge.name) if config.judge.name else []
    sources = {name: (source_version(name) or "none")[:16] for name in own}
    return {
        name: value
        for name, value in flatten(plain_settings(config.judge)).items()
        if name not in UNSETTLING and not name.startswith("noise.") and (asked or not name.startswith("model."))
    } | ({"source": sources} if sources else {})


def noise_of(config: ConfigDict) -> dict[str, Any]:
    """The settings of ``judge.noise`` where there is any; else nothing."""
    noise = plain_settings(config.judge.noise)
    return {"noise": noise} if noise["false_accepts"] or noise["false_rejects"] else {}


def key(origin: Origin) -> str:
    """Name of the stage in ``manifests/``."""
    return f"judge-{origin}"


def made_out(config: ConfigDict, examples: Sequence[Example]) -> list[Example]:
    """The target task's examples with the judge of ``judge.name`` in place of their own, if one is named there.

    General skills keep theirs, always.

    Raises:
      JudgeError: there is no such judge.
    """
    if not config.judge.name:
        return list(examples)
    check_name(config.judge.name)
    replaced = {"judge": config.judge.name}
    return [e if e.split == "general" else dataclasses.replace(e, **replaced) for e in examples]


def describe_sandbox(config: ConfigDict, examples: Sequence[Example]) -> str:
    """The sandbox that judges these examples, in words for the log and the report; empty if no program is run.

    Raises:
      SandboxUnavailable: programs cannot be run safely here, and ``judge.unsafe`` is False.
    """
    if not _names(made_out(config, examples), "programs"):
        return ""
    level = probe(unsafe=config.judge.unsafe)
    return f"{level.name}: {level.protects}." + (f" Not protected: {level.missing}." if level.missing else "")


def check_judges(config: ConfigDict, workdir: Workdir) -> None:
    """Find the sandbox, and whether judges of one's own and a judging model are fit, before hours of sampling and not
    after.

    Raises:
      SandboxUnavailable: see ``describe_sandbox``.
      JudgeError: there is no such judge, it fails its trial (``try_judges``), the judging model cannot be asked or
        fails its canaries; or ``judge.noise`` is out of range.
    """
    with_noise(config, [], "")  # stops at shares that cannot be
    examples = workdir.read_records(Example, "examples/train.jsonl")
    found = describe_sandbox(config, examples)
    if found:
        say(f"sandbox: {found}")
    try_judges(config, examples)
    if consult.is_asked(config):
        consult.try_canaries(config, examples, consult.open_consultant(config, workdir))


_TRIED: set[tuple[str, str | None]] = set()
"""Names and sources of judges of one's own that passed their trial in this process."""


def try_judges(config: ConfigDict, examples: Sequence[Example]) -> None:
    """Try judges of one's own once in a process, and say how it went; before answers are sampled for them.

    Raises:
      JudgeError: there is no such judge, every call of it failed, or it finds no gold right.
    """
    made = made_out(config, examples)
    wanted = {e.judge: [(e.judge, source_version(one)) for one in trial.own_judges(e.judge)] for e in made}
    open_ = [example for example in made if not _TRIED.issuperset(wanted[example.judge])]
    for found in trial.try_judges(open_):
        say(found.describe())
        found.check()
    _TRIED.update(tried for example in open_ for tried in wanted[example.judge])


def open_cache(
    config: ConfigDict, workdir: Workdir, versions: Mapping[str, str], *, look_up: bool = True
) -> VerdictCache:
    """The verdicts kept in the workdir; with ``judge.cache`` off, one that knows nothing and writes nothing.

    Args:
      config, workdir: of the run.
      versions: see ``VerdictCache``.
      look_up: False forgets what was kept; what is found now takes its place.

    Raises:
      CacheError: a file of the cache is damaged.
    """
    if not config.judge.cache:
        return VerdictCache(versions)
    files = {
        name: (workdir / name).read_bytes().decode(errors="replace") for name in workdir.matching([f"{CACHE}/*.jsonl"])
    }
    cache = VerdictCache(versions, files, lambda name, data: workdir.write_bytes(f"{CACHE}/{name}", data))
    if not look_up:
        cache.forget()
    return cache


def judge_responses(
    config: ConfigDict,
    workdir: Workdir,
    examples: Sequence[Example],
    responses: Sequence[Response],
    title: str,
    *,
    look_up: bool = True,
) -> list[Verdict]:
    """One verdict per response, in order. A paraphrase or mended answer that gives its source away counts as wrong, by
    option.

    Args:
      config, workdir: of the run.
      examples: all that the responses answer.
      responses: what to judge.
      title: of the progress.
      look_up: whether verdicts kept before are used.

    Raises:
      JudgeError: a judge failed on most of what it was asked.
    """
    examples = made_out(config, examples)
    by_id = {example.id: example for example in examples}
    consultant = consult.open_consultant(config, workdir) if consult.is_asked(config) else None
    versions = {} if consultant is None else {MODEL: consultant.version}
    if _names(examples, "programs"):
        versions["programs"] = f"{probe(unsafe=config.judge.unsafe).name}/{Limits.wall_seconds:g}"
    if _names(examples, "expressions"):
        versions["expressions"] = expressions.version()
    cache = open_cache(config, workdir, versions, look_up=look_up)
    rules = functools.partial(pool.judge_all, num_workers=config.judge.num_workers or None, unsafe=config.judge.unsafe)

    def judge_single(pairs: Sequence[Pair]) -> list[Verdict]:
        (example, response), *_ = pairs
        judge_all = rules
        if example.judge == MODEL:
            judge_all = functools.partial(model.judge_all, ask=consultant.ask, prompt=consultant.prompt)
        # of a composition every part has a line of progress
        composed = by_id[response.example_id].judge != example.judge
        with progress(f"{title}: {example.judge}" if composed else title, len(pairs)) as ticker:
            verdicts, saved = judge_cached(pairs, cache, judge_all, on_progress=ticker.from_here())
        if saved:
            say(f"{title}: {saved:,} of {len(pairs):,} verdicts of {example.judge} were known already")
        _check_failures(pairs, verdicts, title)
        return verdicts

    verdicts = _judge_finished([(by_id[r.example_id], r) for r in responses], judge_single)
    if not config.judge.leak_filter:
        return verdicts
    return [_leak(response, verdict) for response, verdict in zip(responses, verdicts, strict=True)]


def _check_failures(pairs: Sequence[Pair], verdicts: Sequence[Verdict], title: str) -> None:
    """Tell how often each judge failed at its work; see ``trial.check_failures``."""
    by_judge: dict[str, list[Verdict]] = {}
    for (example, _), verdict in zip(pairs, verdicts, strict=True):
        by_judge.setdefault(example.judge, []).append(verdict)
    for name, found in by_judge.items():
        trial.check_failures(name, found)
        failures = trial.describe_failures(found)
        if failures:
            say(f"{title}: judge {name}: {failures}")


def _judge_finished(pairs: Sequence[Pair], judge_single: Callable[[Sequence[Pair]], list[Verdict]]) -> list[Verdict]:
    """``judge_composed``, but what ends inside a thought has no answer: it is wrong, and no judge is asked."""
    asked = [pair for pair in pairs if not is_unfinished(pair[1].thought)]
    found = iter(judge_composed(asked, judge_single))
    why = "unfinished_thought: it ends inside <think>, so there is no answer"
    return [
        make_verdict(response, example.judge, "wrong", "", why) if is_unfinished(response.thought) else next(found)
        for example, response in pairs
    ]


def with_noise(config: ConfigDict, verdicts: Sequence[Verdict], title: str) -> list[Verdict]:
    """Verdicts on responses that may be trained on, with ``judge.noise`` where there is any; how many, is told."""
    noise = plain_settings(config.judge.noise)
    found = disturb(verdicts, noise["false_accepts"], noise["false_rejects"], noise["seed"])
    changed = sum(one.outcome != other.outcome for one, other in zip(verdicts, found, strict=True))
    if changed:
        say(f"{title}: {changed:,} of {len(found):,} verdicts turned round on purpose (judge.noise)")
    return found


def _names(examples: Sequence[Example], judge: str) -> bool:
    return any(judge in single_names(name) for name in {example.judge for example in examples})


def _leak(response: Response, verdict: Verdict) -> Verdict:
    was_shown_gold = response.origin == "paraphrase" or (response.origin == "repair" and not response.given)
    phrase = mentions_reference(response.text, mended=response.origin == "repair") if was_shown_gold else None
    if phrase is None or verdict.outcome != "right":
        return verdict
    return Verdict(**{**verdict.__dict__, "outcome": "wrong", "reason": f"leak: mentions {phrase!r}"})


def run(config: ConfigDict, workdir: Workdir, origin: Origin, *, redo: bool = False, again: bool = False) -> None:
    """Judge all responses of one origin.

    Args:
      config: its ``judge``.
      workdir: with the responses.
      origin: which responses.
      redo: throw verdicts of other settings away.
      again: find every verdict anew, whatever was kept, and say which changed.
    """
    if config.judge.name:
        check_name(config.judge.name)
    name = f"verdicts/{origin}.jsonl"
    before: list[Verdict] = []
    if again:
        before = workdir.read_records(Verdict, name) if (workdir / name).exists() else []
        workdir.remove(key(origin), [])  # the old verdicts stay until the new ones take their place
    with workdir.stage(
        key(origin),
        settings=settings_of(config) | noise_of(config),
        reads=["prepare", f"sample-{origin}"],
        writes=[name],
        redo=redo,
        first_only=True,
    ) as stage:
        if not stage.needed:
            return say(f"judge {origin}: already done")
        examples = workdir.read_records(Example, "examples/train.jsonl")
        canaries: dict[str, tuple[int, int]] = {}
        if consult.is_asked(config):  # this stage may be run by itself
            canaries = consult.try_canaries(config, examples, consult.open_consultant(config, workdir))
        try_judges(config, examples)
        responses = read_shards(workdir, Response, f"responses/{origin}")
        title = f"judge {origin}"
        verdicts = judge_responses(config, workdir, examples, responses, title, look_up=not again)
        verdicts = with_noise(config, verdicts, title)
        workdir.write_records(name, verdicts)
        stage.facts = dict(Counter(verdict.outcome for verdict in verdicts))
        failed = sum(map(trial.has_failed, verdicts))
        counts = [f"{n} {outcome}" for outcome, n in sorted(stage.facts.items())]
        say(f"judge {origin}: " + ", ".join(counts + [f"{failed} of these since the judge failed"] * bool(failed)))
        stage.facts["sandbox"] = describe_sandbox(config, examples)
        if canaries:
            stage.facts["canaries"] = canaries
    if before:
        say(f"judge {origin}: {describe_change(before, verdicts)}")


def describe_change(before: Sequence[Verdict], now: Sequence[Verdict]) -> str:
    """How many outcomes changed and which way, with one example of each way.

    ``"2 of 1,024 verdicts changed: 2 right -> wrong (gsm8k/train/00017, then: right: 4 equals 4; now: wrong: ...)"``
    """
    then = {(v.example_id, v.index): v for v in before}
    ways: dict[str, list[tuple[Verdict, Verdict]]] = {}
    for verdict in now:
        old = then.get((verdict.example_id, verdict.index))
        if old is not None and old.outcome != verdict.outcome:
            ways.setdefault(f"{old.outcome} -> {verdict.outcome}", []).append((old, verdict))
    shown = "; ".join(
        f"{len(pairs)} {way} ({pairs[0][1].example_id}, then: {pairs[0][0].reason}; now: {pairs[0][1].reason})"
        for way, pairs in sorted(ways.items())
    )
    return f"{sum(map(len, ways.values())):,} of {len(now):,} verdicts changed" + (f": {shown}" if shown else "")
