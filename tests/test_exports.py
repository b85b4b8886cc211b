"""Every program that is jitted lowers for CPUs, TPUs and GPUs, found by running each once.

Kernels written for one kind of chip are chosen there only, and are tested where they are (tests/models).
"""

import ast
import collections
import dataclasses
import inspect
import pathlib
import sys

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from s3ft_jax import batches, sharding, training
from s3ft_jax.generation.engine import Engine, Request
from s3ft_jax.generation.sampling import Sampling, request_key
from s3ft_jax.losses import Loss
from s3ft_jax.models import head_copies, placement
from s3ft_jax.models.cached_attention import CachedAttention
from s3ft_jax.models.config import DecoderConfig
from s3ft_jax.models.decoder import Decoder
from s3ft_jax.models.lora import Lora
from s3ft_jax.scoring.scorer import Scorer
from s3ft_jax.tuning import saving
from small import ROOT

PLATFORMS = ("cpu", "tpu", "cuda")
PACKAGE = ROOT / "s3ft_jax"
CONFIG = DecoderConfig(
    vocab_size=32, num_layers=2, model_dim=16, mlp_dim=32, num_heads=2, num_kv_heads=1, head_dim=8, max_positions=256
)
ENGINE = {"_prefill", "_extend", "_inserted", "_moved", "_resized", "_decode"}


def places() -> set[tuple[str, str]]:
    """(file, innermost function) of each ``jax.jit`` in the package; a decorator's function is the decorated one."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for function in ast.walk(ast.parse(path.read_text())):
            if not isinstance(function, ast.FunctionDef):
                continue
            inner = {id(node) for one in ast.walk(function) if one is not function for node in _own(one)}
            for node in ast.walk(function):
                if isinstance(node, ast.Attribute) and ast.unparse(node) == "jax.jit" and id(node) not in inner:
                    found.add((str(path.relative_to(PACKAGE)), function.name))
    return found


def _own(node: ast.AST) -> list[ast.AST]:
    return list(ast.walk(node)) if isinstance(node, ast.FunctionDef) else []


@pytest.fixture
def exported(monkeypatch):
    """(file, function that jits, function jitted) -> platforms, of every program that is called while the test runs."""
    found: dict[tuple[str, str, str], set[str]] = collections.defaultdict(set)
    jit = jax.jit

    class Watched:
        """A jitted function that is exported before it is first called."""

        def __init__(self, function, options, place):
            self.jitted, self.place = jit(function, **options), place

        def __call__(self, *args, **kwargs):
            if self.place not in found:
                program = jax.export.export(self.jitted, platforms=PLATFORMS)(*args, **kwargs)
                assert program.mlir_module()
                found[self.place] = set(program.platforms)
            return self.jitted(*args, **kwargs)

        def __getattr__(self, name):
            return getattr(self.jitted, name)

    def watch(function, **options):
        frame = sys._getframe(1)
        path = pathlib.Path(frame.f_code.co_filename)
        if not path.is_relative_to(PACKAGE):
            return jit(function, **options)
        named = inspect.getclosurevars(function).nonlocals.get("program", function)  # of one that only counts
        return Watched(function, options, (str(path.relative_to(PACKAGE)), frame.f_code.co_name, named.__name__))

    monkeypatch.setattr(jax, "jit", watch)
    kept = (training.steps.make_step, training.steps.make_probe, placement._cast, placement._put)
    for cached in kept:
        cached.cache_clear()
    yield found
    for cached in kept:
        cached.cache_clear()


def sample_in_two_replicas(implementation):
    """Prompts that begin alike, more than there are slots, longer and longer: every program of the engine."""
    graphdef, params = nnx.split(Decoder(CONFIG, rngs=nnx.Rngs(0)))
    engine = Engine(
        graphdef,
        CONFIG,
        stop_ids=(),
        pad_id=0,
        num_slots=2,
        chunk_steps=16,
        prefill_tokens=16,
        exact=False,
        mesh=sharding.make_mesh(2, devices=jax.devices()[:2]),
        attention=CachedAttention(implementation, interpret=True),
    )
    prefix = tuple(range(2, 10))
    requests = []
    for number in range(1, 9):
        prompt, key = (*prefix, *range(10, 11 + number)), request_key(0, str(number), "own", 0)
        requests.append(Request(prompt, key, 25 * number, Sampling(), shared=len(prefix)))
    assert len(engine.generate(params, requests)) == len(requests)


def train_and_score():
    """A step of adapters with the distance from the base in its loss, what is measured of them, and a score."""
    decoder = Decoder(CONFIG, rngs=nnx.Rngs(0), lora=Lora(2, 4.0, dropout=0.1))
    rows = np.ones((1, 8), np.int32)
    batch = batches.Batch(rows, rows, rows, rows.astype(np.float32))
    training.shrink_base(decoder, "int8", batch)
    parts, optimizer = training.take_apart(decoder, "lora"), training.Optimizer()
    base_graphdef, base = nnx.split(Decoder(CONFIG, rngs=nnx.Rngs(0)))
    training.make_probe(parts.graphdef, base_graphdef)(parts.trainable, parts.frozen, batch, base)
    step = training.make_step(parts.graphdef, optimizer, base_graphdef=base_graphdef, loss=Loss(kl=0.1))
    state = training.start(parts, optimizer, copy=True)
    step(state, parts.frozen, training.split_micro(batch, 1), 0, np.float32(0), base)
    Scorer(base_graphdef, CONFIG, pad_id=0).score(base, [[1, 2]], [[3, 4]])


def copy_heads():
    """Two key-value heads for four chips."""
    config = dataclasses.replace(CONFIG, num_heads=4, num_kv_heads=2)
    mesh = sharding.make_mesh(1, 1, 4, devices=jax.devices()[:4])
    params = sharding.shard_params(nnx.state(Decoder(config, rngs=nnx.Rngs(0))), mesh)
    assert head_copies.copied(params, config, 2, mesh)["blocks"]["k"]["kernel"].get_value().shape == (2, 16, 4 * 8)


def test_all_lower_for_three_platforms(exported):
    for implementation in ("xla", "pallas"):
        sample_in_two_replicas(implementation)
    train_and_score()
    copy_heads()
    place = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    placement._cast(jnp.dtype("bfloat16"), place)(jnp.ones(3))
    placement._put(place)(jnp.zeros((2, 3)), jnp.ones(3), jnp.zeros(1, jnp.int32))
    program = jax.export.export(saving._copied, platforms=PLATFORMS)({"a": jnp.ones(3)})
    exported["tuning/saving.py", "_copied", "_copied"] = set(program.platforms)
    assert {(file, function) for file, function, _ in exported} == places(), "a program that this test does not see"
    assert {name for _, function, name in exported if function == "_compiled"} == ENGINE
    assert all(found == set(PLATFORMS) for found in exported.values())
