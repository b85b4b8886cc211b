"""benchmark_arguments: what `s3ft evaluate` would ignore is refused with the right way; what is given is obeyed."""

import pytest

from configs.defaults import defaults
from s3ft_jax import cli
from s3ft_jax.changes import flatten
from s3ft_jax.harness.settings import HarnessSettings
from s3ft_jax.stages import benchmark
from s3ft_jax.stages.benchmark_arguments import OF_A_MODEL
from small import ROOT

WHOLE = ["s3ft", "--config=configs/quickstart.py", "--workdir=runs/none"]
ALONE = ["--model=pocket", "--tasks=winogrande"]


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([*ALONE, "--seed=0"], "--seed goes with METHOD: it says which tuning"),
        ([*ALONE, "--redo"], "--redo goes with METHOD: nothing of an earlier call is gone on with"),
        ([*WHOLE, "--shots=0"], "--shots goes with --model, for a run's models give --config.benchmark.shots=N"),
        ([*WHOLE, "--max_new_tokens=512"], "give --config.benchmark.max_new_tokens=N"),
        ([*WHOLE, "--limit=0"], "give --config.benchmark.limit=N"),
        ([*WHOLE, "--chat"], "give --config.benchmark.chat=True"),
        ([*WHOLE, "--out=x"], "--out goes with --model, a run keeps all in its workdir"),
        ([*WHOLE, "--model=pocket"], "--model=DIR and --tasks=A,B alone"),
        (["base", *WHOLE[1:], "--seed=0"], "evaluate base: --seed says which tuning of a method"),
        (["s3ft", "--config=configs/quickstart.py"], "give METHOD, --config and --workdir"),
    ],
)
def test_evaluate_refuses_what_it_would_ignore(arguments, message, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    assert cli.main(["evaluate", *arguments]) == 2
    assert message in capsys.readouterr().err and not (ROOT / "runs" / "none").exists()


def test_every_setting_that_evaluate_names_is_one():
    known = flatten(defaults().to_dict())
    assert {setting.partition("=")[0] for setting in OF_A_MODEL.values() if setting} <= set(known)


@pytest.mark.parametrize("given", [[], ["--shots=2", "--max_new_tokens=7", "--limit=3", "--out=kept"]])
def test_benchmarks_of_a_folder_take_what_is_given_and_say_what_is_not_kept(given, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(benchmark, "run_alone", lambda path, settings, out, dtype: asked.append((settings, out)))
    assert cli.main(["evaluate", *ALONE, *given]) == 0
    ((settings, out),) = asked
    said = " ".join(capsys.readouterr().out.split())
    if given:
        assert (settings.shots, settings.max_new_tokens, settings.limit, out) == (2, 7, 3, "kept")
    else:
        assert settings == HarnessSettings(tasks=("winogrande",)) and not out
    assert ("were not kept; --out=DIR keeps them" in said) is not bool(given)
