"""experiment: sizes of the programs as the run has them, and one source for the step's settings."""

import dataclasses

import pytest
from tiny_experiment import CONFIG, changed, step

from s3ft_jax.models.lora import Lora
from s3ft_jax.planning import costs
from s3ft_jax.planning.experiment import Decode, Prefill, TrainStep


@pytest.mark.parametrize(
    "batch_size, accumulation, split, unit, size",
    [
        (8, 1, costs.Split(), 1, 8),
        (6, 1, costs.Split(2, 2), 4, 8),
        (8, 3, costs.Split(tensor=8), 3, 9),
        (16, 2, costs.Split(4, 4), 32, 32),
    ],
)
def test_a_batch_is_filled_up_as_the_run_fills_it(batch_size, accumulation, split, unit, size):
    train = TrainStep(changed(batch_size=batch_size, accumulation=accumulation), split)
    assert (train.unit, train.size) == (unit, size)
    assert train.sizes(size).tokens == size * 64
    assert train.sizes(size).rows == size // accumulation


def test_estimates_are_made_with_the_settings_of_the_step():
    asked = []

    def settings(mesh):
        asked.append(dict(mesh.shape))
        return step(mesh, remat="dots", chunk_tokens=32 * mesh.shape["fsdp"], activation_dtype="float32")

    train = TrainStep(changed(step=settings), costs.Split(fsdp=4))
    sizes = train.sizes(train.size)
    assert asked == [{"data": 1, "fsdp": 4, "tensor": 1}]
    assert (sizes.remat, sizes.chunk_tokens, sizes.attention, sizes.activation_bytes) == ("dots", 128, "xla", 4)
    assert train.dtype == "float32"
    assert sizes.loss_places == 16


def test_settings_in_words():
    train = TrainStep(changed(step=lambda mesh: step(mesh, chunk_tokens=32)), costs.Split())
    assert train.settings == (
        "all parameters, parameters float32, activations bfloat16, remat full, attention xla, "
        "logits of 32 tokens at a time"
    )
    lora = TrainStep(changed(lora=Lora(rank=2, targets=("q", "v"))), costs.Split())
    assert lora.settings.startswith("lora of rank 2 on q v, ") and lora.settings.endswith("logits all at once")


def test_parameters_of_a_full_tuning_have_a_dtype_of_their_own():
    wide, narrow = (TrainStep(changed(tuned_dtype=name), costs.Split()) for name in ("float32", "bfloat16"))
    # the parameters alone: their moments are float32 in any case
    assert wide.estimate(8)[0] - narrow.estimate(8)[0] == 2 * wide._kept[1].num_trainable


def test_the_shapes_are_the_engines():
    own = changed(prompt_tokens=40, new_tokens=24)
    prefill, decode = Prefill(own, costs.Split()), Decode(own, costs.Split())
    # prompts of 40 tokens are filled up to 64, 2,048 tokens make a batch; 63 positions of the cache are used
    assert prefill.shape(prefill.size) == "32 x 64 tokens"
    assert decode.shape(decode.size) == "8 slots x 128, 4 steps"
    assert decode.sizes(8, 1).cache_length == decode.engine(8, 1)[0].cache_length(63)
    engine, _ = prefill.engine(1, 5)
    assert engine.prefill_shape(40) == (5, 64)


def test_an_answer_does_not_go_beyond_the_model():
    long = changed(prompt_tokens=200, new_tokens=200)
    assert Decode(long, costs.Split()).sizes(8, 1).cache_length == 256


def test_what_is_kept_beside():
    place = 2 * 2 * 2 * 16 * 4  # keys and values of two layers and two heads, float32
    prefill, decode = Prefill(changed(), costs.Split()), Decode(changed(), costs.Split())
    cache = 8 * decode.sizes(8, 1).cache_length * place
    head, norm = 4 * 128 * 64, 4 * 64
    assert prefill.beside(1) == cache + head + norm
    prompt, seen = 4 * (64 + 1), 8 * 128  # ids and their number; a byte for each slot and token of the vocabulary
    assert prefill.estimate(1)[0] + head + norm == decode.estimate(8)[0] - cache - seen + prompt
    assert decode.beside(8) == 32 * 64 * place  # prompts that wait for a slot
    tied = Prefill(changed(config=dataclasses.replace(CONFIG, tie_embeddings=True)), costs.Split())
    assert tied.beside(1) == cache + norm


@pytest.mark.parametrize("kind, size", [(TrainStep, 8), (Prefill, 2), (Decode, 8)])
def test_larger_batches_need_more_and_work_more(kind, size):
    program = kind(changed(), costs.Split())
    small, large = program.estimate(size), program.estimate(2 * size)
    assert large[0] >= small[0] and large[1] > small[1]
    assert program.work(2 * size).flops == 2 * program.work(size).flops
    assert program.work(2 * size).tokens == 2 * program.work(size).tokens
