"""The structure: import directions, no cycles, sizes, names, docstrings, a test file for every module."""

import ast
import pathlib
import re
import subprocess
import sys

import pytest

from small import ROOT

PACKAGE = ROOT / "s3ft_jax"
MODULES = sorted(p for p in PACKAGE.rglob("*.py"))

# room -> (rooms of ours it may import, outside packages it may import beside the standard library)
RULES = {
    "records": (set(), set()),
    "activity": (set(), set()),
    "processes": (set(), {"jax"}),
    "allocator": (set(), set()),
    "job": ({"activity", "processes", "progress"}, set()),
    "changes": (set(), set()),
    "seals": (set(), set()),
    "stopwatch": ({"seals"}, set()),
    "workdir": ({"activity", "changes", "processes", "records", "seals", "stopwatch", "storage"}, {"etils"}),
    "storage": (set(), {"etils", "fsspec"}),
    "bounds": (set(), set()),
    "config": ({"bounds", "changes"}, {"ml_collections"}),
    "progress": ({"activity"}, {"rich"}),
    "endpoint": (set(), set()),
    "judges": ({"records", "endpoint", "seals", "thoughts"}, {"math_verify", "py3langid"}),
    "tasks": ({"records", "storage", "judges"}, {"datasets", "pyarrow", "etils", "tensorflow_datasets", "tokenizers"}),
    "thoughts": (set(), set()),
    "chat_templates": (set(), {"jinja2"}),
    "prompts": (
        {"records", "storage", "chat_templates", "thoughts"},
        {"transformers", "tokenizers", "jinja2"},
    ),
    "edit_distance": (set(), set()),
    "repairs": ({"records"}, set()),
    "selection": ({"records", "edit_distance"}, set()),
    "rungs": ({"records", "selection"}, set()),
    "variants": ({"config", "selection"}, set()),
    "grid": (set(), set()),
    "rounds": ({"records", "selection"}, set()),
    "batches": ({"records"}, {"numpy"}),
    "evaluation": ({"records", "judges"}, {"numpy", "scipy"}),
    "report": (
        {"records", "evaluation", "grid"},
        {"numpy", "scipy", "matplotlib", "jinja2", "markupsafe", "rich", "etils"},
    ),
    "models": ({"sharding"}, {"jax", "flax", "numpy", "safetensors", "ml_dtypes"}),
    "sharding": (set(), {"jax", "flax", "numpy"}),
    "transfer": ({"sharding"}, {"jax", "flax", "numpy"}),
    "losses": (set(), {"jax"}),
    "generation": ({"models", "sharding"}, {"jax", "flax", "numpy"}),
    "scoring": ({"models", "sharding"}, {"jax", "flax", "numpy"}),
    "training": ({"models", "losses", "batches"}, {"jax", "flax", "numpy", "optax"}),
    "tuning": (
        {
            "training",
            "checkpoints",
            "param_digests",
            "batches",
            "progress",
            "models",
            "processes",
            "stopping",
            "storage",
        },
        {"jax", "flax", "etils"},
    ),
    "stopping": (set(), set()),
    "fingerprints": ({"storage"}, {"etils"}),
    "checkpoints": (
        {"fingerprints", "models", "param_digests", "processes", "seals", "sharding", "stopping", "storage"},
        {"jax", "flax", "numpy", "orbax", "etils"},
    ),
    "param_digests": (set(), {"jax", "numpy"}),
    "shards": ({"processes", "records", "storage", "workdir"}, set()),
    "hf_folder": ({"storage"}, {"etils", "huggingface_hub"}),
    "model_card": ({"records", "selection"}, set()),
    "planning": (
        {"sharding", "training", "batches", "generation", "models"},
        {"jax", "flax", "numpy", "optax"},
    ),
    "texts": ({"prompts", "chat_templates", "storage"}, {"jinja2"}),
    "harness": (
        {"texts", "thoughts", "responder", "generation", "progress"},
        {"lm_eval", "nltk", "datasets", "yaml", "numpy"},
    ),
    "outside": ({"records", "prompts", "endpoint", "generation", "responder"}, set()),
    "responder": (
        {"progress", "records", "prompts", "texts", "generation", "scoring", "models"},
        {"jax", "numpy", "flax"},
    ),
}


def room(path: pathlib.Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: pathlib.Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("path", [p for p in MODULES if room(p) in RULES], ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_room_imports_only_what_it_may(path):
    ours, outside = RULES[room(path)]
    for name in imports(path):
        top, *rest = name.split(".")
        if top == "s3ft_jax":
            assert not rest or rest[0] in ours | {room(path)}, f"{path.name} imports {name}"
        elif top not in sys.stdlib_module_names:
            assert top in outside, f"{path.name} imports {name}"


def test_every_room_has_a_rule():
    free = {"__init__", "__main__", "cli", "stages", "pocket_model"}
    assert {room(p) for p in MODULES} - free == set(RULES)


def test_no_import_cycle():
    names = {
        ".".join(("s3ft_jax", *p.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__"): p
        for p in MODULES
    }
    graph = {name: {i for i in imports(path) if i in names and i != name} for name, path in names.items()}
    # a package and its own modules are one room: its __init__ may gather them
    graph = {n: {i for i in found if not n.startswith(i + ".")} for n, found in graph.items()}
    done, open_ = set(), []

    def visit(name):
        assert name not in open_, f"import cycle: {' -> '.join([*open_, name])}"
        if name not in done:
            open_.append(name)
            for other in sorted(graph[name]):
                visit(other)
            open_.pop()
            done.add(name)

    for name in sorted(graph):
        visit(name)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_sizes_names_and_docstrings(path):
    text = path.read_text()
    tree = ast.parse(text)
    assert text.count("\n") <= 400, f"{path.name} has {text.count(chr(10))} lines"
    assert path.stem not in {"utils", "util", "helpers", "common", "misc"} and not re.match(
        r"base_|.*_manager$", path.stem
    )
    assert ast.get_docstring(tree), f"{path.name} has no docstring"
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            assert node.end_lineno - node.lineno <= 60, f"{path.name}: {node.name} is too long"
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{path.name}: {node.name} has no docstring"


def test_every_module_has_a_test_of_its_name():
    tests = {p.stem for p in (ROOT / "tests").rglob("test_*.py")}
    without = []
    for path in MODULES:
        if path.stem in ("__init__", "__main__"):
            continue
        names = {f"test_{path.stem}", f"test_{path.parent.name}_{path.stem}"}
        if not names & tests:
            without.append(str(path.relative_to(PACKAGE)))
    assert not without, f"modules without a test: {without}"


def test_host_side_rooms_start_without_jax():
    code = (
        "import sys, s3ft_jax.stages.judge, s3ft_jax.stages.prepare, s3ft_jax.tasks, s3ft_jax.cli;"
        "import s3ft_jax.stages.show;"
        "bad = [m for m in ('jax', 'torch') if m in sys.modules]; assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_run_s3ft_names_every_stage_of_the_recipe():
    script = (ROOT / "tpu_scripts" / "run_s3ft.sh").read_text()
    for stage in ("import", "prepare", "measure", "sample own", "judge own", "sample paraphrase", "judge paraphrase"):
        assert f"s3ft {stage}\n" in script
    for stage in ("select", "train", "evaluate", "report"):
        assert f"s3ft {stage}" in script
