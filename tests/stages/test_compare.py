"""compare: a grid is walked once, its points are chosen on validation alone, and a kill costs one model at most."""

import json

import pytest

from s3ft_jax.config import load_config
from s3ft_jax.grid import GridError
from s3ft_jax.records import Score
from s3ft_jax.report import GridPoint
from s3ft_jax.stages import compare, evaluate, tuned_model
from s3ft_jax.storage import files_below
from s3ft_jax.variants import VariantError
from s3ft_jax.workdir import Workdir, WorkdirError
from small import ROOT, SMALL, small_config

OWN = [
    "methods=s3ft",
    "compare.learning_rates=1e-4,1e-3",
    "compare.variants.s3ft-dft=s3ft@loss.dft=true,num_steps=3",
    "compare.shots=2",
    "train.num_steps=4",
    "train.seeds=0,1",
    "compare.search_seeds=1",
]


def config_of(*overrides):
    small = [line for line in SMALL if not line.startswith("train.seeds")]
    return load_config(f"{ROOT / 'configs' / 'quickstart.py'}:task=arithmetic", [*small, *OWN, *overrides])


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """(config, workdir) of one small comparison."""
    workdir = Workdir(str(tmp_path_factory.mktemp("compared")))
    config = config_of()
    compare.run(config, workdir)
    return config, workdir


def grid_of(workdir):
    return [GridPoint(**json.loads(line)) for line in (workdir / compare.GRID).read_text().splitlines()]


def test_every_point_is_there_and_one_of_each_line_is_chosen(compared):
    _, workdir = compared
    grid = grid_of(workdir)
    base, rest = grid[0], grid[1:]
    assert base.label == "base" and base.kl == 0.0 and base.seed is None
    points = {label: sorted(p.learning_rate for p in rest if p.label == label) for label in {p.label for p in rest}}
    (rate,) = (p.learning_rate for p in rest if p.label == "sft" and p.chosen)
    assert points.pop("sft-low-rate") == [pytest.approx(0.1 * rate)]
    assert points == {label: [1e-4, 1e-3] for label in ("sft", "sft-replay", "s3ft", "s3ft-dft")}
    for label in points:
        assert sum(point.chosen for point in rest if point.label == label) == 1
    assert {p.num_steps for p in rest if p.label == "s3ft-dft"} == {3} and {p.seed for p in rest} == {0}
    assert all(p.kl > 0 and 0 <= p.general <= 1 for p in rest)


def test_the_choice_is_by_validation_and_the_chosen_alone_meet_the_test_split(compared):
    _, workdir = compared
    for point in grid_of(workdir)[1:]:
        (score,) = workdir.read_records(Score, evaluate.file(point.variant, 0, "validation"))
        assert score.value == point.score
        names = {p.variant for p in grid_of(workdir) if p.chosen}
        for seed in (0, 1):
            tested = (workdir / evaluate.file(point.variant, seed, "test")).exists()
            assert tested == (point.variant in names)
            assert tuned_model.is_kept(workdir, point.variant, seed) or not tested, "others are not kept"


def test_the_report_has_each_line_and_what_was_left_out(compared):
    _, workdir = compared
    document = json.loads((workdir / "comparison.json").read_text())
    assert set(document["summary"]) == {"base", "few-shot", "sft-low-rate", "sft", "sft-replay", "s3ft", "s3ft-dft"}
    assert document["summary"]["few-shot"]["general_change"]["mean"] == 0
    assert document["summary"]["s3ft"]["seeds"] == 2, "the chosen point is tuned with every seed"
    assert len(document["grid"]) == len(grid_of(workdir))
    assert not (workdir / "report.html").exists() and (workdir / "comparison.html").exists()


def test_a_second_run_makes_nothing_and_a_lost_model_is_made_again(compared, capsys):
    _, workdir = compared
    before = {str(p): p.read_bytes() for p in files_below(workdir.path)}
    compare.run(config_of(), workdir)
    assert {str(p): p.read_bytes() for p in files_below(workdir.path)} == before
    assert " made, " not in capsys.readouterr().out
    # chosen otherwise: the point that was not kept is tuned again with the same bits, so that its scores stay
    other = next(p for p in grid_of(workdir) if p.label == "s3ft" and not p.chosen)
    digest = workdir.stage_digest(tuned_model.key(other.variant, 0))
    assert not tuned_model.is_kept(workdir, other.variant, 0)
    compare.run(config_of(f"compare.learning_rates={other.learning_rate}", "compare.keep=all"), workdir)
    assert workdir.stage_digest(tuned_model.key(other.variant, 0)) == digest and tuned_model.is_kept(
        workdir, other.variant, 0
    )
    assert " made, " in capsys.readouterr().out


def test_one_model_serves_every_line_that_has_its_settings():
    config = config_of("compare.variants.again=s3ft@learning_rate=0.001")
    names = [
        [compare.variant_name(config, one.method, point) for point in compare._points(config, one)]
        for one in compare.plan(config).contenders
        if one.label in ("s3ft", "again")
    ]
    assert names[1][0] in names[0] and len(names[1]) == 1


@pytest.mark.parametrize(
    "overrides, error, message",
    [
        (["compare.rule=luck"], GridError, r"compare\.rule = 'luck'"),
        (["compare.baselines=zero-shot"], GridError, r"compare\.baselines: \['zero-shot'\]; choose from few-shot"),
        (["compare.keep=some"], GridError, r"compare\.keep = 'some'"),
        (["compare.low_rate=2"], GridError, r"compare\.low_rate = 2"),
        (["compare.search_seeds=3"], GridError, r"compare\.search_seeds = 3"),
        (["evaluate.split=validation"], GridError, "chooses on validation and reports on test"),
        (["compare.variants.sft=s3ft@num_steps=1"], GridError, "names of methods or baselines"),
        (["compare.variants.x=s4ft@num_steps=1"], VariantError, "no method 's4ft'"),
        (["compare.variants.x=s3ft@num_stps=1"], VariantError, "did you mean 'num_steps'"),
        (["compare.variants.x=s3ft@learning_rate=fast"], VariantError, "'fast' is not of type float"),
        (["methods=s3tf"], WorkdirError, r"\['s3tf'\]; choose from"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_read(overrides, error, message, tmp_path):
    with pytest.raises(error, match=message):
        compare.run(config_of(*overrides), Workdir(str(tmp_path / "run")))
    assert not (tmp_path / "run").exists()


def test_a_baseline_that_cannot_be_had_is_named():
    wanted = compare.plan(config_of("replay.task="))
    assert "sft-replay" not in wanted.methods and "sft-replay was left out" in wanted.notes[0]
    preset = str(ROOT / "configs" / "gsm8k.py")
    wanted = compare.plan(load_config(f"{preset}:model=m"))
    assert "sft-replay" in wanted.methods and "sft-replay" in wanted.baselines and not wanted.notes
    wanted = compare.plan(load_config(f"{preset}:model=m,replay=off"))
    assert "sft-replay" not in wanted.methods and "sft-replay was left out" in wanted.notes[0]
    wanted = compare.plan(config_of("compare.baselines=()", "methods=s3ft"))
    assert wanted.methods == ("s3ft",) and not wanted.notes, "nothing is added that was not asked for"


def test_shots_are_as_many_as_fit(walked, capsys):
    config, workdir = walked
    wanted = compare.plan(config)
    short = small_config("evaluate.max_new_tokens=430", "train.seeds=0,1", "compare.shots=4")
    fitted = compare._fit_shots(short, workdir, wanted)
    assert "few-shot" in "".join(fitted.notes) and short.compare.shots < 4
    none = small_config("evaluate.max_new_tokens=460")
    assert "few-shot" not in compare._fit_shots(none, workdir, wanted).baselines


def test_what_another_line_has_chosen_is_kept(tmp_path):
    """Two lines try the same model; the one that does not take it must not remove it."""
    config = config_of(
        "methods=sft", "compare.baselines=()", "train.seeds=0", "compare.search_seeds=0",
        "compare.learning_rates=1e-4", "compare.rule=best", "general.tasks=()", "evaluate.kl=0",
    )  # fmt: skip
    config.compare.variants = type(config.compare.variants)({"both": "sft@num_steps=4"})
    workdir = Workdir(str(tmp_path))
    compare.run(config, workdir)
    grid = grid_of(workdir)
    assert {point.variant for point in grid[1:]} == {"sft@learning_rate=0.0001"}
    assert tuned_model.is_kept(workdir, "sft@learning_rate=0.0001", 0)
    assert all(point.general is None and point.kl is None for point in grid[1:])
    text = (workdir / "comparison.md").read_text()
    assert "Every setting that was tried" in text and "says nothing about forgetting" in text


def test_without_validation_examples_nothing_is_sampled(tmp_path):
    workdir = Workdir(str(tmp_path))
    config = config_of("methods=sft", "compare.baselines=()")
    custom = tmp_path / "rows.jsonl"
    custom.write_text("".join(json.dumps({"question": f"{i}+{i}?", "answer": str(2 * i)}) + "\n" for i in range(40)))
    config.task.name, config.task.data, config.task.split_fracs = "custom", str(custom), (0.8, 0.0, 0.2)
    config.judge.name = "numbers"
    with pytest.raises(GridError, match=r"there are none: task\.num_validation"):
        compare.run(config, workdir)
    assert not workdir.matching(["responses/*"])


def test_the_clock_counts_each_model_once(capsys):
    clock = compare._Clock(4)
    for variant, seed, new in (("a", 0, False), ("b", 0, True), ("b", 0, False), ("b", 1, True)):
        clock.begin(variant, seed, new)
        clock.end()
    told = capsys.readouterr().out
    assert "1 model made, 2 left or fewer" in told and "2 models made, 1 left or fewer" in told
