"""Stage: the whole recipe, one stage after the other; what is done is skipped, so a killed run goes on where it was."""

from __future__ import annotations

from ml_collections import ConfigDict

from s3ft_jax.progress import say
from s3ft_jax.records import SAMPLED, Origin
from s3ft_jax.report.references import find_reference
from s3ft_jax.selection import METHODS, asked_after
from s3ft_jax.workdir import Workdir, WorkdirError


def check_methods(methods: tuple[str, ...]) -> None:
    """Raise WorkdirError naming an unknown method."""
    unknown = [method for method in methods if method not in METHODS]
    if unknown or not methods:
        raise WorkdirError(f"methods: {unknown or 'empty'}; choose from {', '.join(METHODS)}")


def origins_wanted(methods: tuple[str, ...]) -> list[Origin]:
    """Which origins must be sampled for these methods, in order."""
    return [origin for origin in SAMPLED if asked_after(methods, origin) is not None]


def check(config: ConfigDict) -> None:
    """Stop at settings that cannot be, before anything is read."""
    from s3ft_jax.stages import benchmark, prepare, sample, select

    check_methods(config.methods)
    select.check_settings(config)
    for origin in origins_wanted(config.methods):
        sample.settings_of(config, origin)
    prepare.check_replay(config)
    benchmark.settings_of(config)
    find_reference(config.report.reference)


def build_targets(config: ConfigDict, workdir: Workdir, *, redo: bool = False) -> None:
    """What methods share behind import and prepare: sample, judge (agree, gate), and each method's selections."""
    from s3ft_jax.stages import agree, gate, judge, sample, select

    origins = origins_wanted(config.methods)
    judge.check_judges(config, workdir)
    if config.judge.second:
        judge.check_judges(agree.second(config), workdir)
    for origin in origins:
        sample.run(config, workdir, origin, redo=redo)
        judge.run(config, workdir, origin, redo=redo)
        if config.judge.second:
            agree.run(config, workdir, origin, redo=redo)
        if origin == select.GATED and select.is_gated(config):
            gate.run(config, workdir, redo=redo)
    for method in config.methods:
        select.run(config, workdir, method, redo=redo)


def run(config: ConfigDict, workdir: Workdir, *, redo: bool = False) -> None:
    """import, prepare, measure, sample, judge (agree, gate), select, train, evaluate (drift, benchmark), report."""
    from s3ft_jax.stages import (
        benchmark,
        device_memory,
        drift,
        evaluate,
        import_model,
        measure,
        prepare,
        questions,
        report,
        train,
    )
    from s3ft_jax.stages.method_settings import check_settings

    check(config)
    import_model.run(config, workdir, redo=redo)
    prepare.run(config, workdir, redo=redo)
    questions.fill_in(config, workdir)
    check_settings(config, workdir)
    measure.run(config, workdir)
    device_memory.check(config, workdir)
    build_targets(config, workdir, redo=redo)
    evaluate.run(config, workdir, evaluate.UNTUNED, None, redo=redo)
    benchmark.run(config, workdir, evaluate.UNTUNED, None, redo=redo)
    for seed in config.train.seeds:
        for method in config.methods:
            train.run(config, workdir, method, seed, redo=redo)
            evaluate.run(config, workdir, method, seed, redo=redo)
            drift.run(config, workdir, method, seed, redo=redo)
            benchmark.run(config, workdir, method, seed, redo=redo)
    report.run(config, workdir, redo=redo)
    say(str(workdir / "report.html"))
