"""The page of the report room: report.html, one file without network, for a phone and a desk, in light and dark.

In: ``Contents``. Out: the text of the page. Layout is in ``page.html`` (jinja2) and looks in ``page.css`` beside this
file; here the plots are drawn and the examples to browse are sorted.
"""

from __future__ import annotations

import dataclasses
from importlib import resources

from s3ft_jax.records import ORIGINS
from s3ft_jax.report import browsing, frontier, judging, plots, tables
from s3ft_jax.report.benchmarks import benchmark_tables
from s3ft_jax.report.claims import FAILS, FAILS_BEFORE, HOLDS, HOLDS_BEFORE, NOISE, RIVAL, SUBJECT, UNMEASURED, VOID
from s3ft_jax.report.contents import CITATIONS, READING, Contents
from s3ft_jax.report.drawing import method_role
from s3ft_jax.report.evidence import BASE, BrowsedExample, EvidenceError
from s3ft_jax.report.fates import FIXED, REGRESSED, RIGHT, TEXT_LIMIT, WRONG, fate_counts, fate_of, key_of, subject_of
from s3ft_jax.report.intake import encoding_table, intake_table
from s3ft_jax.report.training_curves import LOOKS, last_values_table
from s3ft_jax.report.wording import clean_text, count_of, method_name, share

CLAIM_MARKS = {HOLDS: "\u2713", FAILS: "\u2717", NOISE: "~", VOID: "\u2013", UNMEASURED: "\u2013"}
CLAIM_MARKS |= dict.fromkeys((HOLDS_BEFORE, FAILS_BEFORE), "~")
CLAIM_CLASSES = {HOLDS: "good", FAILS: "bad", NOISE: "noise", VOID: "none", UNMEASURED: "none"}
CLAIM_CLASSES |= dict.fromkeys((HOLDS_BEFORE, FAILS_BEFORE), "noise")
PLOTS = ("scatter", "skills", "frontier", "forgetting", "flow", "logprob_token", "logprob_total", "curves")
OUTCOME_MARKS = {"right": "\u2713", "wrong": "\u2717", "undecided": "?"}


@dataclasses.dataclass(frozen=True)
class Group:
    """Browsed examples with the same fate: ``title``, how many there are, and the ones shown."""

    title: str
    total: int
    examples: tuple[BrowsedExample, ...]


def build_page(contents: Contents) -> str:
    """The text of report.html."""
    import jinja2
    from markupsafe import Markup

    folder = resources.files("s3ft_jax.report")
    try:
        template, style = (folder.joinpath(name).read_text(encoding="utf-8") for name in ("page.html", "page.css"))
    except FileNotFoundError as error:
        raise EvidenceError(
            f"the report's template is missing from the installation ({error.filename}). Install the package again."
        ) from None
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(
        clean=lambda text: clean_text(text, TEXT_LIMIT),
        clean_item=lambda text: clean_text(text, browsing.TEXT_LIMIT),
        clean_end=browsing.clean_end,
        title_of=browsing.title_of,
        tidy=lambda text: text.replace(" %", "\u00a0%").replace(" points", "\u00a0points"),
        method_name=method_name,
    )
    evidence, flow = contents.evidence, contents.flow
    names = (BASE, *evidence.methods)
    return environment.from_string(template).render(
        style=Markup(style),
        contents=contents,
        evidence=evidence,
        subject=subject_of(evidence),
        plots={name: Markup(text) for name, text in _plots(contents).items()},
        roles={method: method_role(method, names) for method in names},
        groups=_groups(contents, subject_of(evidence)),
        changed=browsing.shown_items(evidence.changed),
        changes_table=browsing.changes_table(evidence.changed),
        **_tables(contents),
        target_origins=list(next(iter(flow.targets.values()), ())),
        logprob_origins=[origin for origin in ORIGINS if evidence.logprobs.get(origin)],
        judges_line=judging.judges_line(evidence),
        judging_tables=[*filter(None, [judging.canaries_table(evidence)]), *judging.agreement_tables(evidence)],
        looks={LOOKS[name]: Markup(text) for name, text in plots.looks(evidence.looks, evidence.methods).items()},
        benchmark_tables=benchmark_tables(evidence),
        forgetting_sentence=frontier.forgetting_sentence(contents.forgetting),
        settings=[
            (heading, tables.pairs_table(heading, values) if values else None, name)
            for heading, values, name in (
                ("Settings", evidence.config, "config"),
                ("Versions", evidence.versions, "versions"),
                ("Hashes", evidence.hashes, "hashes"),
            )
        ],
        pair=_pair(contents),
        rescued=_rescued(contents),
        size=_size(contents),
        claim_marks=CLAIM_MARKS,
        claim_classes=CLAIM_CLASSES,
        outcome_marks=OUTCOME_MARKS,
        reading=READING,
        citations=CITATIONS,
    )


def _tables(contents: Contents) -> dict[str, tables.Table | None]:
    """The tables by their names in the template; None for those that there is no evidence for."""
    evidence, flow = contents.evidence, contents.flow
    return {
        "targets_table": tables.targets_table(flow),
        "responses_table": tables.responses_table(flow),
        "reasons_table": tables.reasons_table(flow),
        "rungs_table": tables.rungs_table(flow),
        "pass_rate_table": tables.pass_rate_table(flow),
        "rounds_table": tables.rounds_table(evidence),
        "intake_table": intake_table(evidence) if evidence.intakes else None,
        "encoding_table": encoding_table(evidence) if evidence.encoding else None,
        "logprobs_table": tables.logprobs_table(evidence),
        "last_values_table": last_values_table(evidence),
        "costs_table": tables.costs_table(evidence.costs) if evidence.costs else None,
        "frontier_table": frontier.frontier_table(evidence.grid),
        "grid_table": frontier.grid_table(evidence.grid),
    }


def _plots(contents: Contents) -> dict[str, str]:
    """The drawings there is evidence for, others empty; the template says why those are absent."""
    evidence = contents.evidence
    drawn = dict.fromkeys(
        ("scatter", "skills", "frontier", "forgetting", "flow", "logprob_token", "logprob_total", "curves"), ""
    )
    if contents.board.skills:
        drawn["scatter"] = plots.scatter(contents.rows)
        drawn["skills"] = plots.skills(contents.rows, _pair(contents))
    labels = (BASE, *evidence.methods)
    spots = [spot for spot in frontier.spots(evidence.grid) if spot.change is not None]
    if spots:
        drawn["frontier"] = plots.frontier(spots, evidence.grid[0].score, labels)
    if contents.board.skills and contents.forgetting.marks:
        drawn["forgetting"] = plots.forgetting(contents.forgetting, labels)
    if contents.flow.targets:
        drawn["flow"] = plots.flow_bars(contents.flow)
    if any(evidence.logprobs.values()):
        drawn["logprob_token"], drawn["logprob_total"] = plots.logprob_histograms(evidence.logprobs)
    if evidence.curves:
        drawn["curves"] = plots.loss_curves(evidence.curves, evidence.methods)
    return drawn


def _pair(contents: Contents) -> list[str]:
    """The methods whose skills are drawn one by one: SFT and S3FT, or the last method where one of them was not run."""
    return [name for name in (RIVAL, SUBJECT) if name in contents.evidence.methods] or [subject_of(contents.evidence)]


def _groups(contents: Contents, subject: str) -> list[Group]:
    """Examples by what became of them from the base to ``subject``, regressed first; no empty groups."""
    titles = {
        REGRESSED: "Regressed: the base was right",
        FIXED: "Fixed: the base was not right",
        WRONG: "Unchanged, not right",
        RIGHT: "Unchanged, right",
        None: f"No answer of the base or of {method_name(subject)}",
    }
    groups: dict[str | None, list[BrowsedExample]] = {fate: [] for fate in titles}
    for example in contents.evidence.examples:
        groups[fate_of(example, subject)].append(example)
    # of the subject's first seed; nothing where single answers are not known
    totals = next((one for one in fate_counts(contents.board) if one["method"] == subject), {})
    most = browsing.most_that_fit(
        list(groups.values()), lambda one: browsing.example_size(one, TEXT_LIMIT), browsing.ROOM
    )
    return [
        Group(titles[fate], max(totals.get(key_of(fate), 0), len(members)), tuple(members[:most]))
        for fate, members in groups.items()
        if members
    ]


def _rescued(contents: Contents) -> str:
    if not contents.flow.rescued:
        return ""
    accepted, asked = contents.flow.rescued
    return (
        f"{accepted:,} of the {count_of(asked, 'example')} without a right own response ({share(accepted, asked)}) got "
        "an accepted paraphrase. This share carries the method: the rest must fall back to gold."
    )


def _size(contents: Contents) -> str:
    """What stands behind the numbers, in one line."""
    board = contents.board
    parts = [
        count_of(len(contents.evidence.methods), "method"),
        count_of(len(contents.evidence.seeds), "seed"),
        f"{count_of(board.score((BASE, None), board.task).count, 'test example')} of {board.task}",
    ]
    if board.skills:
        parts.append(count_of(len(board.skills), "general skill"))
    return " \u00b7 ".join(parts)
