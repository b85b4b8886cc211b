"""training: one step's invariants, adapters, divergence, and stop-and-resume equal to straight through."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from s3ft_jax import checkpoints, training
from s3ft_jax.batches import Batch, build_batch, plan_batches, token_weights
from s3ft_jax.losses import Loss
from s3ft_jax.models.config import DecoderConfig
from s3ft_jax.models.decoder import Decoder
from s3ft_jax.models.lora import Adapter, Lora
from s3ft_jax.param_digests import by_path
from s3ft_jax.records import Selection
from s3ft_jax.training.optimizers import path_name

CONFIG = DecoderConfig(32, 2, 16, 24, 4, 2, 4, 64, tie_embeddings=True)


def make_selections(count: int = 24) -> list[Selection]:
    rng = np.random.default_rng(0)
    return [
        Selection(
            f"t/train/{i:03d}",
            "sft",
            "gold",
            None,
            "",
            tuple(int(x) for x in rng.integers(1, 32, rng.integers(2, 7))),
            tuple(int(x) for x in rng.integers(1, 32, rng.integers(2, 7))),
            "",
        )
        for i in range(count)
    ]


SELECTIONS = make_selections()


def decoder(lora: Lora | None = None) -> Decoder:
    return Decoder(CONFIG, rngs=nnx.Rngs(0), lora=lora)


def steps(num_steps: int, accumulation: int = 1, row_length: int = 24, first: int = 0):
    plan = plan_batches(SELECTIONS, row_length=row_length, num_steps=num_steps, seed=0, examples_per_step=8)
    for number in range(first, num_steps):
        yield training.split_micro(build_batch(plan, number, SELECTIONS), accumulation)


def train(batches, num_steps=4, tune="full", model=None, state=None, optimizer=None, **fit):
    parts = training.take_apart(model or decoder(), tune)
    optimizer = optimizer or training.Optimizer(weight_decay=0.1)
    state = training.start(parts, optimizer) if state is None else state(parts, optimizer)
    step = training.make_step(parts.graphdef, optimizer)
    rows = []
    fit = {"on_steps": rows.extend, "seed": 7} | fit
    return training.fit(state, parts.frozen, step, batches, training.Schedule(1e-2, num_steps), **fit), rows


def same(left, right, rtol=0.0, atol=0.0):
    for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=atol)


def test_the_loss_falls_and_every_token_is_counted():
    state, rows = train(steps(30), num_steps=30)
    assert rows[-1]["loss"] < 0.9 * rows[0]["loss"]
    assert int(state.step) == 30 and all(row["skipped"] == 0 for row in rows)
    plan = plan_batches(SELECTIONS, row_length=24, num_steps=30, seed=0, examples_per_step=8)
    for row, step in zip(rows, plan.steps, strict=True):
        assert row["tokens"] == sum(len(SELECTIONS[i].response_ids) for members in step.rows for i in members)


def test_accumulation_changes_nothing_but_the_order_of_sums():
    whole, rows = train(steps(4, accumulation=1))
    for accumulation in (2, 4, 8):
        split, other = train(steps(4, accumulation=accumulation))
        same(split.trainable, whole.trainable, atol=2e-5)
        np.testing.assert_allclose([r["loss"] for r in other], [r["loss"] for r in rows], rtol=1e-5)


def test_packed_equals_padded():
    parts = training.take_apart(decoder(), "full")
    optimizer = training.Optimizer()
    step = training.make_step(parts.graphdef, optimizer)
    plan = plan_batches(SELECTIONS, row_length=24, num_steps=1, seed=0, examples_per_step=8)
    packed = build_batch(plan, 0, SELECTIONS)
    chosen = [i for row in plan.steps[0].rows for i in row]
    padded = Batch(*(np.zeros((8, 24), a.dtype) for a in packed))
    for row, i in enumerate(chosen):
        prompt, response = SELECTIONS[i].prompt_ids, SELECTIONS[i].response_ids
        size = len(prompt) + len(response)
        padded.tokens[row, :size], padded.positions[row, :size] = prompt + response, np.arange(size)
        padded.segments[row, :size], padded.weights[row, len(prompt) : size] = 1, 1.0
    results = [
        step(training.start(parts, optimizer), parts.frozen, training.split_micro(b, 1), 0, np.float32(1e-3))
        for b in (packed, padded)
    ]
    np.testing.assert_allclose(results[0][1]["loss"], results[1][1]["loss"], rtol=1e-6)
    same(results[0][0].trainable, results[1][0].trainable, atol=2e-6)


@pytest.mark.parametrize("tune", ["full", "lora"])
def test_stop_and_resume_is_bit_equal_to_straight_through(tmp_path, tune):
    lora = Lora(4, 8.0, 0.1, ("q", "down")) if tune == "lora" else None
    straight, _ = train(steps(6), num_steps=6, tune=tune, model=decoder(lora))
    from etils import epath

    def save(number, state):
        checkpoints.save(
            epath.Path(tmp_path / str(number)),
            trees={name: tree for name, tree in state._asdict().items() if tree is not None},
            config=CONFIG,
            lora=lora,
            step=number,
            provenance={},
        )

    half = list(steps(6))[:3]
    train(iter(half), num_steps=6, tune=tune, model=decoder(lora), on_state=save, look_at=lambda number: number == 3)

    def restore(parts, optimizer):
        like = training.start(parts, optimizer)
        folder = epath.Path(tmp_path / "3")
        trees = {name: tree for name, tree in like._asdict().items() if tree is not None}
        return training.TrainState(**{name: checkpoints.restore_tree(folder, name, trees[name]) for name in trees})

    resumed, _ = train(steps(6, first=3), num_steps=6, tune=tune, model=decoder(lora), state=restore)
    same(resumed, straight)


def test_two_runs_give_the_same_bits():
    same(train(steps(4))[0], train(steps(4))[0])


def test_dropout_is_drawn_the_same_every_time_and_by_the_seed():
    model, batch = decoder(Lora(4, 8.0, 0.5, ("q", "down"))), next(steps(1))
    one, again, twice = (
        train(batches, num_steps=len(batches), tune="lora", model=decoder(Lora(4, 8.0, 0.5, ("q", "down"))))[
            0
        ].trainable
        for batches in ([batch] * 3, [batch] * 3, [batch, batch])
    )
    same(one, again)
    assert not np.array_equal(*[np.ravel(jax.tree.leaves(tree)[0]) for tree in (one, twice)])
    parts = training.take_apart(model, "lora")
    step = training.make_step(parts.graphdef, training.Optimizer())
    losses = []
    for number in range(2):
        state = training.start(parts, training.Optimizer())._replace(step=np.int32(number))
        losses.append(float(step(state, parts.frozen, batch, 7, np.float32(0))[1]["loss"]))
    assert losses[0] == losses[1], "b is zero at first: what a drops makes no difference"


def test_lora_trains_adapters_and_nothing_else():
    model = decoder(Lora(4, 8.0, 0.0, ("q", "v", "o", "gate", "up", "down", "k")))
    before = nnx.to_pure_dict(nnx.state(model, nnx.Not(Adapter)))
    state, rows = train(steps(20), num_steps=20, tune="lora", model=model)
    names = set(by_path(state.trainable))
    assert names and all("lora_" in name for name in names)
    moments = [name for name in by_path(state.opt_state) if "blocks" in name]
    assert len(moments) == 2 * len(names) and all("lora_" in name for name in moments)
    assert rows[-1]["loss"] < rows[0]["loss"]
    same(nnx.to_pure_dict(nnx.state(model, nnx.Not(Adapter))), before)


def test_a_rounded_base_is_measured_and_then_trained_on():
    model = decoder(Lora(4, 8.0, 0.0, ("q", "v")))
    for projection in model.projections().values():  # large enough that the blocks, not the embedding, decide
        projection.kernel[...] = 10.0 * projection.kernel[...]
    plan = plan_batches(SELECTIONS, row_length=24, num_steps=1, seed=0, examples_per_step=8)
    batch = build_batch(plan, 0, SELECTIONS)
    row = tuple(part[:1] for part in batch[:3])
    before = model(*row)[0]
    error = training.shrink_base(model, "int8", batch)
    seen = batch.segments[0] > 0
    expected = np.max(np.abs(model(*row)[0] - before)[0, seen]) / np.max(np.abs(before)[0, seen])
    np.testing.assert_allclose(error, expected, rtol=1e-3)
    assert 1e-4 < error < 0.1
    _, rows = train(steps(20), num_steps=20, tune="lora", model=model)
    assert rows[-1]["loss"] < rows[0]["loss"] and all(row["skipped"] == 0 for row in rows)


def poisoned(batch: Batch) -> Batch:
    return batch._replace(weights=np.full_like(batch.weights, np.nan))


def test_a_step_that_is_not_finite_is_skipped_and_counted():
    good = list(steps(3))
    state, rows = train(iter([good[0], poisoned(good[1]), good[2]]), num_steps=3)
    assert [row["skipped"] for row in rows] == [0, 1, 0]
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.trainable))


def test_many_skipped_steps_stop_the_run():
    bad = [poisoned(batch) for batch in steps(4)]
    with pytest.raises(training.TrainingDiverged, match=r"step 3: .*3 steps in a row.* rows of 3 .*learning_rate"):
        train(iter(bad), max_skipped=3, describe=lambda number: f"rows of {number}")


def test_one_program_serves_the_whole_run():
    parts, optimizer = training.take_apart(decoder(), "full"), training.Optimizer(b1=0.8)
    step = training.make_step(parts.graphdef, optimizer)
    for seed, rate in ((0, 3e-3), (1, 1e-4)):
        state, schedule = training.start(parts, optimizer), training.Schedule(rate, 6 + seed)
        training.fit(state, parts.frozen, step, steps(6), schedule, seed=seed, on_steps=lambda rows: None)
    assert step._cache_size() == 1, "another seed, rate or length of the run compiled something"
    assert training.make_step(parts.graphdef, optimizer) is step, "another run here takes the same program"


@pytest.mark.parametrize("name", ["adamw", "adafactor", "lion", "muon"])
def test_moments_of_bfloat16_parameters_are_float32_from_the_first_step_on(name):
    graphdef, trainable, frozen = training.take_apart(decoder(), "full")
    parts = training.Parts(graphdef, jax.tree.map(lambda p: p.astype(jnp.bfloat16), trainable), frozen)
    optimizer = training.Optimizer(name, b1=0.7)  # no other test's, so that its program is compiled here
    step, before = training.make_step(graphdef, optimizer), training.start(parts, optimizer)
    dtypes = [leaf.dtype for leaf in jax.tree.leaves(before)]
    assert {leaf.dtype for leaf in jax.tree.leaves(before.opt_state)} == {jnp.dtype("float32"), jnp.dtype("int32")}
    schedule = training.Schedule(1e-3, 2)
    after = training.fit(before, frozen, step, steps(2), schedule, seed=0, on_steps=lambda rows: None)
    assert [leaf.dtype for leaf in jax.tree.leaves(after)] == dtypes and step._cache_size() == 1


def named(tree) -> dict:
    return {path_name(path): leaf for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]}


def test_what_is_frozen_stays_and_has_no_optimizer_state():
    freeze = ("embedding", "blocks.*_norm.scale", "blocks.q.*")
    parts = training.take_apart(decoder(), "full", freeze)
    assert set(named(parts.frozen)) == {
        "embedding", "blocks.attention_norm.scale", "blocks.mlp_norm.scale", "blocks.q.kernel",
    }  # fmt: skip
    state = training.start(parts, training.Optimizer())
    assert len(jax.tree.leaves(state.opt_state)) == 1 + 2 * len(jax.tree.leaves(parts.trainable))
    step = training.make_step(parts.graphdef, training.Optimizer())
    after, metrics = step(state, parts.frozen, next(steps(1)), 0, np.float32(0.1))
    assert metrics["loss"] > 0 and not np.array_equal(named(after.trainable)["final_norm.scale"], np.ones(16))


@pytest.mark.parametrize(
    ("freeze", "message"),
    [
        (("embeding",), r"train\.freeze: 'embeding' names none of .*embedding"),
        (("*",), r"train\.freeze = \('\*',\) leaves no parameter to learn"),
    ],
)
def test_a_freeze_that_cannot_be_is_refused(freeze, message):
    with pytest.raises(training.OptimizerError, match=message):
        training.take_apart(decoder(), "full", freeze)


def test_the_average_follows_the_parameters():
    seen = []
    start = training.start(training.take_apart(decoder(), "full"), training.Optimizer()).trainable
    average = jax.tree.map(np.array, start)

    def on_state(number, state):
        nonlocal average
        average = jax.tree.map(lambda a, p: 0.75 * a + 0.25 * np.array(p), average, state.trainable)
        seen.append(jax.tree.map(np.array, state.average))

    train(
        steps(3), num_steps=3, optimizer=training.Optimizer(ema_decay=0.75), on_state=on_state, look_at=lambda n: True
    )
    same(seen[-1], average, atol=1e-6)


@pytest.mark.parametrize("tune", ["full", "lora"])
def test_kl_is_measured_against_the_base_and_holds_the_model_near_it(tune):
    """With adapters the base is the frozen parameters without them; else it is a copy."""
    near = {}
    for kl in (0.0, 30.0):
        model = decoder(Lora(4, 8.0, 0.0, ("q", "down")) if tune == "lora" else None)
        parts, optimizer = training.take_apart(model, tune), training.Optimizer()
        model = nnx.merge(parts.graphdef, *jax.tree.map(jnp.copy, (parts.trainable, parts.frozen)))
        model.drop_adapters()
        base_graphdef, base = nnx.split(model)
        step = training.make_step(parts.graphdef, optimizer, loss=Loss(kl=kl), base_graphdef=base_graphdef)
        state, rows = training.start(parts, optimizer), []
        training.fit(
            state, parts.frozen, step, steps(12), training.Schedule(5e-2, 12), seed=0, base=base,
            on_steps=rows.extend,
        )  # fmt: skip
        assert abs(rows[0]["kl"]) < 1e-6 and rows[-1]["kl"] > 0
        if kl:
            np.testing.assert_allclose(rows[-1]["objective"], rows[-1]["loss"] + kl * rows[-1]["kl"], rtol=1e-4)
        near[kl] = rows[-1]["kl"]
    assert near[30.0] < 0.5 * near[0.0]


def test_a_probe_measures_what_a_step_would():
    parts = training.take_apart(decoder(), "full")
    base_graphdef, base = nnx.split(Decoder(CONFIG, rngs=nnx.Rngs(5)))
    batch = next(steps(1))
    rows = Batch(*(part[0] for part in batch))
    sums = training.make_probe(parts.graphdef, base_graphdef)(parts.trainable, parts.frozen, rows, base)
    step = training.make_step(parts.graphdef, training.Optimizer(), loss=Loss(kl=1.0), base_graphdef=base_graphdef)
    _, metrics = step(training.start(parts, training.Optimizer()), parts.frozen, batch, 0, np.float32(0), base)
    np.testing.assert_allclose(sums.cross_entropy / sums.weight, metrics["loss"], rtol=1e-5)
    np.testing.assert_allclose(sums.kl / sums.weight, metrics["kl"], rtol=1e-4)
    assert float(sums.kl) > 0


def test_examples_weigh_alike_where_that_is_asked_for():
    """The mean over examples of each one's mean loss, whatever its length."""
    parts = training.take_apart(decoder(), "full")
    plan = plan_batches(SELECTIONS, row_length=24, num_steps=1, seed=0, examples_per_step=8)
    step = training.make_step(parts.graphdef, training.Optimizer())

    def loss(batch) -> float:
        state = training.start(parts, training.Optimizer())
        return float(step(state, parts.frozen, training.split_micro(batch, 1), 0, np.float32(0))[1]["loss"])

    whole = loss(build_batch(plan, 0, SELECTIONS, token_weights(SELECTIONS, "example")))
    chosen = [i for row in plan.steps[0].rows for i in row]
    alone = []
    for i in chosen:
        weighed = [np.full(len(s.response_ids), float(j == i), np.float32) for j, s in enumerate(SELECTIONS)]
        alone.append(loss(build_batch(plan, 0, SELECTIONS, weighed)))
    np.testing.assert_allclose(whole, np.mean(alone), rtol=1e-5)
