"""Stage: the whole recipe, one stage after the other; what is done is skipped, so a killed run goes on where it was."""

from __future__ import annotations

from ml_collections import ConfigDict

from s3ft_jax.progress import say
from s3ft_jax.selection import METHODS, needs_paraphrase
from s3ft_jax.workdir import Workdir, WorkdirError


def check_methods(methods: tuple[str, ...]) -> None:
    """Raise WorkdirError naming an unknown method."""
    unknown = [method for method in methods if method not in METHODS]
    if unknown or not methods:
        raise WorkdirError(f"methods: {unknown or 'empty'}; choose from {', '.join(METHODS)}")


def origins_wanted(methods: tuple[str, ...]) -> list[str]:
    """Which origins must be sampled for these methods, in order."""
    origins = ["own"] if any("own" in METHODS[m].prefer for m in methods) else []
    return origins + (["paraphrase"] if needs_paraphrase(methods) != "none" else [])


def run(config: ConfigDict, workdir: Workdir, *, redo: bool = False) -> None:
    """import, prepare, sample, judge (compare), select, train, evaluate, report."""
    from s3ft_jax.stages import compare, evaluate, import_model, judge, prepare, report, sample, select, train
    from s3ft_jax.stages.method_settings import check_settings

    check_methods(config.methods)
    import_model.run(config, workdir, redo=redo)
    prepare.run(config, workdir, redo=redo)
    check_settings(config, workdir)
    judge.check_judges(config, workdir)
    if config.judge.compare:
        judge.check_judges(compare.second(config), workdir)
    for origin in origins_wanted(config.methods):
        sample.run(config, workdir, origin, redo=redo)
        judge.run(config, workdir, origin, redo=redo)
        if config.judge.compare:
            compare.run(config, workdir, origin, redo=redo)
    for method in config.methods:
        select.run(config, workdir, method, redo=redo)
    evaluate.run(config, workdir, evaluate.UNTUNED, None, redo=redo)
    for seed in config.train.seeds:
        for method in config.methods:
            train.run(config, workdir, method, seed, redo=redo)
            evaluate.run(config, workdir, method, seed, redo=redo)
    report.run(config, workdir, redo=redo)
    say(str(workdir / "report.html"))
