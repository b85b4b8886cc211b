"""Stage: all that the other stages left -> report.html, report.md, report.json and a table in the terminal."""

from __future__ import annotations

import json
from typing import Any

from ml_collections import ConfigDict

from s3ft_jax.changes import flatten
from s3ft_jax.progress import console, say
from s3ft_jax.records import Score
from s3ft_jax.report import Control, build_contents, print_result, write_report
from s3ft_jax.stages.gather import Entry, answers_of, gather, items_of, models_of, reads_of
from s3ft_jax.stages.launch import plain_settings, spans_hosts
from s3ft_jax.stages.sampler import engine_settings
from s3ft_jax.workdir import MissingStage, Workdir, WorkdirError

KEY = "report"


def run(config: ConfigDict, workdir: Workdir, *, redo: bool = False) -> None:
    """Gather the evidence of ``config.methods`` and write the report."""
    entries = [Entry(method, method, method) for method in config.methods]
    models = models_of(entries, config.train.seeds)
    settings = {"report": plain_settings(config.report), "title": config.title, "methods": config.methods}
    files = {}
    if config.report.control:
        files["control"] = Workdir(config.report.control).stage_digest(KEY)
    writes = ["report.html", "report.md", "report.json", "report-csv"]
    reads = reads_of(config, workdir, models)
    alone = not spans_hosts(engine_settings(config), workdir)
    with workdir.stage(
        KEY, settings=settings, reads=reads, files=files, writes=writes, redo=redo, first_only=alone
    ) as stage:
        if stage.needed:
            evidence = gather(config, workdir, models, control_of(config))
            if workdir.processes.is_first:
                contents = build_contents(evidence)
                write_report(contents, workdir.path)
                print_result(contents, console)
        else:
            say("report: already done")


def control_of(config: ConfigDict) -> Control | None:
    """The control run's scores, and its models' answers, where ``report.control`` names one."""
    if not config.report.control:
        return None
    control = Workdir(config.report.control)
    path = control / "report.json"
    if not path.exists():
        raise WorkdirError(f"report.control: {path} is not there; run the control first")
    document = json.loads(path.read_text())
    scores = [Score(**values) for values in document["scores"]]
    notes = (f"Control run: {config.report.control}.", *_differences(config, document))
    models = models_of([Entry(method, method, method) for method in document["methods"]], document["seeds"])
    try:
        answers, items = answers_of(config, control, models), items_of(config, control, models)
    except MissingStage as error:  # the same benchmarks may not have been run there
        answers, items, notes = {}, {}, (*notes, f"Its differences are not paired by question: {error}.")
    return Control(document["title"], scores, notes, answers, items)


def _differences(config: ConfigDict, document: dict[str, Any]) -> list[str]:
    """What sets the control apart, as a sentence; its own report's settings and methods aside."""
    here, there = flatten(json.loads(config.to_json_best_effort())), flatten(document["settings"])
    aside = ("title", "methods", "train.num_questions")  # the last is counted, not set
    names = [n for n in sorted(here.keys() | there.keys()) if not n.startswith("report.") and n not in aside]
    told = [
        f"{n} = {there.get(n, 'absent')} (here {here.get(n, 'absent')})" for n in names if here.get(n) != there.get(n)
    ]
    return [f"Settings that differ: {'; '.join(told)}."] if told else []
