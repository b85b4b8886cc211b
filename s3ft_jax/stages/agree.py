"""Stage: a second judge beside the first, on the same training responses -> agreement/ORIGIN.jsonl, for the report.

    s3ft agree own --config=FILE.py --workdir=DIR --config.judge.second='first(numbers, model)'

Nothing is sampled and nothing is selected anew: the first judge's verdicts stay what the run follows.
"""

from __future__ import annotations

from collections import Counter

from ml_collections import ConfigDict

from s3ft_jax.judges import check_name
from s3ft_jax.progress import say
from s3ft_jax.records import Example, Origin, Response, Verdict
from s3ft_jax.shards import read_shards
from s3ft_jax.stages import consult, judge
from s3ft_jax.workdir import Workdir, WorkdirError


def key(origin: Origin) -> str:
    """Name of the stage in ``manifests/``."""
    return f"agree-{origin}"


def file(origin: Origin) -> str:
    """Where the second judge's verdicts are."""
    return f"agreement/{origin}.jsonl"


def second(config: ConfigDict) -> ConfigDict:
    """The config with the second judge in the first one's place.

    Raises:
      WorkdirError: ``judge.second`` is empty, or the first judge's verdicts are disturbed.
      JudgeError: there is no such judge.
    """
    if not config.judge.second:
        raise WorkdirError("judge.second is empty: name the second judge, e.g. --config.judge.second=exact")
    if judge.noise_of(config):
        raise WorkdirError(
            "judge.second with judge.noise: how often two judges agree says nothing where verdicts of the first are "
            "turned round on purpose. Leave one of the two out."
        )
    check_name(config.judge.second)
    own = ConfigDict(config.to_dict())
    own.judge.name = config.judge.second
    return own


def run(config: ConfigDict, workdir: Workdir, origin: Origin, *, redo: bool = False) -> None:
    """Judge all responses of one origin by ``judge.second`` too, and say how often the two agree.

    Raises:
      WorkdirError: ``judge.second`` is empty.
      JudgeError: there is no such judge, it fails its trial, or a judging model its canaries.
    """
    own = second(config)
    settings, reads = judge.settings_of(own), [judge.key(origin)]
    with workdir.stage(
        key(origin), settings=settings, reads=reads, writes=[file(origin)], redo=redo, first_only=True
    ) as stage:
        if not stage.needed:
            return say(f"agree {origin}: already done")
        examples = workdir.read_records(Example, "examples/train.jsonl")
        if consult.is_asked(own):
            stage.facts["canaries"] = consult.try_canaries(own, examples, consult.open_consultant(own, workdir))
        judge.try_judges(own, examples)
        responses = read_shards(workdir, Response, f"responses/{origin}")
        verdicts = judge.judge_responses(own, workdir, examples, responses, f"agree {origin}")
        workdir.write_records(file(origin), verdicts)
        first = workdir.read_records(Verdict, f"verdicts/{origin}.jsonl")
        pairs = Counter((one.outcome, two.outcome) for one, two in zip(first, verdicts, strict=True))
        alike = sum(count for (one, two), count in pairs.items() if one == two)
        say(f"agree {origin}: the two judges agree on {alike:,} of {len(first):,}")
