"""Terminal: one line per model, plain text when there is no terminal."""

import io

from rich.console import Console
from synthetic_evidence import synthetic_contents, synthetic_evidence, synthetic_scores

from s3ft_jax.report import build_contents, print_result


def printed(contents, width=100):
    stream = io.StringIO()
    print_result(contents, Console(file=stream, width=width, highlight=False))
    return stream.getvalue()


def test_headline_models_and_claims_are_printed():
    contents = synthetic_contents()
    text = printed(contents)
    lines = text.splitlines()
    assert " ".join(text.split()).startswith(contents.headline)
    assert sum(line.startswith("\u2502") for line in lines) == 5
    assert "\x1b" not in text
    flat = " ".join(text.replace("\u2502", " ").split())
    assert "\u25bd \u22122.8" in flat, "hollow: correction takes it away"
    assert "corrected for all comparisons of this report" in flat
    assert any("S3FT is at least as good as SFT on the target: holds" in line for line in lines)


def test_without_general_skills():
    evidence = synthetic_evidence(scores=synthetic_scores(skills=()), answers={}, control=None)
    text = printed(build_contents(evidence))
    assert "general change" not in text
    assert "not measured" in text
