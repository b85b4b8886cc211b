"""The page: one file, nothing loaded, every text escaped, small enough."""

import dataclasses
import re
from html.parser import HTMLParser

import pytest
from synthetic_evidence import METHODS, synthetic_browsed, synthetic_contents, synthetic_evidence

from s3ft_jax.report import build_contents
from s3ft_jax.report.claims import FAILS_BEFORE, HOLDS_BEFORE
from s3ft_jax.report.page import build_page

SECTIONS = ("result", "claims", "mind", "control", "flow", "logprob", "examples", "training", "scores", "settings")
VOID_TAGS = {"meta", "br", "link", "img", "input", "hr"}


@pytest.fixture(scope="module")
def page():
    return build_page(synthetic_contents())


class Outline(HTMLParser):
    """Open tags, ids, and addresses of a page."""

    def __init__(self):
        super().__init__()
        self.open, self.ids, self.addresses, self.tags = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag not in VOID_TAGS:
            self.open.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value)
            if name in ("src", "href", "xlink:href", "action", "data", "srcset"):
                self.addresses.append((tag, value))

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID_TAGS:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def outline(page):
    parser = Outline()
    parser.feed(page)
    assert parser.open == []
    return parser


def test_nothing_is_loaded_from_anywhere(page):
    found = outline(page)
    for tag, address in found.addresses:
        assert address.startswith("#") or (tag == "a" and address.startswith("https://arxiv.org/abs/"))
    outside = re.sub(r'href="https://arxiv\.org/abs/[\d.]+"', "", page)
    assert "http" not in outside
    assert "@import" not in page and not re.search(r"url\((?!#)", page)
    assert not {"script", "link", "iframe", "img", "object"} & set(found.tags)


def test_ids_are_unique_and_links_lead_somewhere(page):
    found = outline(page)
    assert len(found.ids) == len(set(found.ids))
    targets = {address[1:] for _, address in found.addresses if address.startswith("#")}
    assert targets <= set(found.ids)


def test_size_and_the_basics_of_a_page_for_a_phone(page):
    assert len(page.encode()) < 3_000_000
    assert page.lstrip().startswith("<!doctype html>")
    assert 'name="viewport" content="width=device-width' in page
    assert "prefers-color-scheme: dark" in page


def test_changes_carry_sign_and_arrow(page):
    assert re.search(r'<span class="arrow">\u25b2</span>\+\d', page)
    assert re.search(r'<span class="arrow">\u25bc</span>\u2212\d', page)
    assert re.search(r'<span class="arrow">\u25bd</span>\u2212\d', page)


def test_model_text_is_escaped_and_cut_with_a_word(page):
    assert "<script>" not in page and "&lt;script&gt;" in page
    example = dataclasses.replace(synthetic_browsed(1)[0], prompt="x" * 4000 + "\x00\ud800")
    cut = build_page(build_contents(synthetic_evidence(examples=(example,))))
    assert "[1,002 more characters not shown]" in cut
    cut.encode()


def test_titles_and_notes_are_escaped():
    evidence = synthetic_evidence(title="<b>bold</b>", notes=("a < b & c",))
    text = build_page(build_contents(evidence))
    assert "&lt;b&gt;bold&lt;/b&gt;" in text and "a &lt; b &amp; c" in text


def test_examples_are_sorted_by_their_fate_and_counted():
    many = []
    for number in range(16):
        many.append(dataclasses.replace(synthetic_browsed(4)[number % 4], example_id=f"programs/test/{number}"))
    text = build_page(build_contents(synthetic_evidence(examples=tuple(many), changed=())))
    every = re.findall(r"<summary>([^<]+) <span class=\"tag\">\((\d+)(?:, (\d+) shown)?\)", text)
    titles = [one for one in every if one[0].startswith(("Regressed", "Fixed", "Unchanged"))]
    assert [title.split(":")[0] for title, _, _ in titles] == [
        "Regressed",
        "Fixed",
        "Unchanged, not right",
        "Unchanged, right",
    ]
    assert {shown for _, _, shown in titles} <= {"4", ""} and "4" in {shown for _, _, shown in titles}
    assert sum(int(total) for _, total, _ in titles) >= 600, "all test examples are counted"


def test_long_examples_leave_the_page_small_and_what_is_not_shown_is_counted():
    long = dataclasses.replace(synthetic_browsed(1)[0], prompt='"<' * 2000, gold='"<' * 2000)
    many = tuple(dataclasses.replace(long, example_id=f"programs/test/{number}") for number in range(100))
    text = build_page(build_contents(synthetic_evidence(examples=many, answers={})))
    (shown,) = re.findall(r"Unchanged, not right <span class=\"tag\">\(100, (\d+) shown\)", text)
    assert 0 < int(shown) < 100 and len(text.encode()) < 3_000_000


def test_every_section_and_plot_is_there(page):
    assert page.count("<svg") == 6, "no grid, no KL"
    for method in METHODS:
        assert f"var(--method-{method})" in page
    for part in SECTIONS:
        assert f'id="{part}"' in page
    assert "Absent:" not in page


def test_every_colour_a_page_uses_has_a_light_and_a_dark_value(page):
    style = page[page.index("<style>") : page.index("</style>")]
    light, dark = style.split("prefers-color-scheme: dark", 1)
    dark = dark[: dark.index("\n}\n")]
    for name in set(re.findall(r"var\(--((?:origin|method)-[\w]+|ink|muted|grid|paper)\)", page)):
        assert f"--{name}:" in light and f"--{name}:" in dark


def test_every_origin_that_occurs_has_a_legend_and_a_colour(page):
    assert "var(--origin-repair)" not in page
    selections = {"sft": [("a", "gold", ""), ("x", "replay", "")], "s3ft": [("a", "repair", "")]}
    rung = {"reached": 2, "accepted": 1, "targets": 1, "responses": 2, "tokens": 9}
    drawn = build_page(build_contents(synthetic_evidence(selections=selections, rungs={"s3ft": {"repair": rung}})))
    for origin in ("own", "paraphrase", "repair", "gold", "replay"):
        assert f'<span class="dot" style="--dot: var(--origin-{origin})"></span>{origin}</li>' in drawn
        assert len(re.findall(rf"--origin-{origin}: #", drawn)) == 2, "one for light, one for dark"
    assert "tokens per accepted" in drawn and "tokens per accepted" not in page


def test_a_claim_that_correction_takes_away_has_a_mark_of_its_own():
    contents = synthetic_contents()
    claims = [dataclasses.replace(contents.claims[0], verdict=verdict) for verdict in (HOLDS_BEFORE, FAILS_BEFORE)]
    page = build_page(dataclasses.replace(contents, claims=claims))
    for verdict in (HOLDS_BEFORE, FAILS_BEFORE):
        assert f'<span class="verdict noise"><i aria-hidden="true">~</i>{verdict}</span>' in page
