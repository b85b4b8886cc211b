"""The page in a browser, as wide as a desk and as a phone: nothing sticks out, nothing is written to the console."""

import html
import pathlib
import shutil
import subprocess
import tempfile

import pytest
from synthetic_evidence import synthetic_contents, synthetic_evidence
from test_frontier import GRID
from whole_evidence import whole_evidence

from s3ft_jax.report import build_contents
from s3ft_jax.report.page import build_page

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--enable-logging=stderr",
    "--virtual-time-budget=5000", "--dump-dom",
)  # fmt: skip
# a browser's window has a least width, a frame has none; a frame's contents see its width as the screen's
FRAME = """<!doctype html><iframe id="frame" style="border:0; width:{width}px; height:900px" srcdoc="{page}"></iframe>
<script>
document.getElementById("frame").onload = event => {{
  const page = event.target.contentDocument;
  const wide = [...page.querySelectorAll("main *, header *")].filter(one =>
    !one.closest(".scroll, pre, svg, details:not([open])") && one.getBoundingClientRect().right > {width} + 1);
  const drawn = [...page.querySelectorAll("svg")].filter(one => one.getBoundingClientRect().height > 50);
  document.title = [page.documentElement.scrollWidth, wide.length, wide[0] ? wide[0].outerHTML.slice(0, 80) : "",
    drawn.length].join("|");
}};
</script>"""

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium here")


def seen(page, width, tmp_path):
    """(width of the whole page, elements that stick out, the first of them, pictures) and the console's lines."""
    file = tmp_path / f"{width}.html"
    file.write_text(FRAME.format(width=width, page=html.escape(page)), encoding="utf-8")
    with tempfile.TemporaryDirectory() as profile:
        done = subprocess.run(
            [
                BROWSER,
                *FLAGS,
                f"--user-data-dir={profile}",
                f"--window-size={max(width + 50, 600)},1000",
                f"file://{file}",
            ],
            capture_output=True,
            text=True,
            timeout=120,
        )
    title = html.unescape(done.stdout.partition("<title>")[2].partition("</title>")[0])
    scroll, wide, first, drawn = title.split("|")
    return int(scroll), int(wide), first, int(drawn), [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("what", ["run", "comparison", "whole", "walked", "unfolded"])
def test_nothing_sticks_out_and_all_is_drawn(what, width, tmp_path, request):
    if what == "walked":
        _, workdir = request.getfixturevalue("walked")
        page = pathlib.Path(workdir / "report.html").read_text()
    else:
        made = {"comparison": lambda: synthetic_evidence(grid=GRID), "run": synthetic_evidence, "whole": whole_evidence}
        page = build_page(build_contents(made[what]()) if what in made else synthetic_contents())
    page = page.replace("<details", "<details open") if what == "unfolded" else page
    scroll, wide, first, drawn, console = seen(page, width, tmp_path)
    assert (scroll <= width, wide, first) == (True, 0, "")
    assert drawn == page.count("<svg") >= 5 and not console
    if what == "unfolded":
        assert page.count("What was forgotten") == 2 and "&lt;b&gt;" in page
    assert len(page.encode()) < 3_000_000


def test_what_sticks_out_and_what_complains_is_seen(tmp_path):
    page = "<!doctype html><main><p style='width:900px'>x</p></main><script>console.error('no')</script>"
    scroll, wide, first, drawn, console = seen(page, 390, tmp_path)
    assert scroll > 900 and wide == 1 and first.startswith("<p") and drawn == 0 and len(console) == 1
