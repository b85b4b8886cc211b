"""Arithmetic: operations and bytes of a train step, a prefill and a decode chunk, and the roofline they meet.

In: an architecture, the sizes of a run, bytes of weights per chip (memory.py). Out: ``Work`` of one chip, ``Bound``.

XLA's own count (``compiled.cost_analysis()``) counts a scanned layer once, so the sums are made here. A product of
[M, a] and [a, b] is 2 M a b operations; what is not a matrix product (norms, softmax, rope) is left out, a few percent.
Bytes are the least that the program must move: weights read once a pass, what one pass keeps for another written and
read once, gradients and optimizer state read and written once. Real programs move more, so the bound is a bound.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

from s3ft_jax import sharding
from s3ft_jax.models import head_copies, kernels
from s3ft_jax.models.config import DecoderConfig
from s3ft_jax.planning.chips import Chip

SKIPPING = ("splash",)
"""Attention that leaves out keys after the query and before the window; the others compute every pair and mask."""
BACKWARD = {"xla": 4, "cudnn": 5, "chunked": 5, "splash": 7}
"""Products of the size of attention's two forward ones that its backward pass takes: four gradients; the scores again,
where they are not kept; scores and their gradients a second time in splash, whose backward pass is two kernels. A row
of a single part is kept by ``chunked``; one of several is made whole again by ``cudnn``."""
GRADIENT_BYTES = 4
"""Gradients are summed in float32 (``training.make_step``)."""


class Weights(NamedTuple):
    """Parameters, seen from one chip; bytes, but for ``num_trainable``.

    Attributes:
      num_trainable: numbers that learn, of which this chip keeps the state.
      trainable, frozen, optimizer: kept between steps.
      used: read by one forward pass: whole over fsdp, split over tensor; without an embedding that is only looked up.
        ``experts``, ``head``: those of them that belong to experts, and that make logits.
      gathered: ``used`` as it travels between chips, in the narrower of the stored and the stream's dtype;
        ``gathered_trainable``, ``gathered_layer``: of what learns, of the largest layer.
    """

    num_trainable: int
    trainable: int
    frozen: int
    optimizer: int
    used: int
    experts: int
    head: int
    gathered: int
    gathered_trainable: int
    gathered_layer: int


class Split(NamedTuple):
    """Sizes of the mesh axes."""

    data: int = 1
    fsdp: int = 1
    tensor: int = 1

    @property
    def chips(self) -> int:
        """Chips in use."""
        return self.data * self.fsdp * self.tensor

    @property
    def row_parts(self) -> int:
        """Parts into which the rows of a batch fall."""
        return self.data * self.fsdp


@dataclasses.dataclass(frozen=True)
class TrainSizes:
    """One optimizer step.

    Attributes:
      micro_batches, rows, length: the batch is [A, B, T], B over all chips.
      tune: full or lora.
      rank, targets: of the adapters; 0 and () without.
      remat, chunk_tokens, attention: see ``training.make_step``.
      activation_bytes: of one number of the stream.
    """

    micro_batches: int
    rows: int
    length: int
    tune: str = "full"
    rank: int = 0
    targets: tuple[str, ...] = ()
    remat: str = "none"
    chunk_tokens: int = 0
    attention: str = "xla"
    activation_bytes: int = 4

    @property
    def tokens(self) -> int:
        """Places of the batch, filled or not."""
        return self.micro_batches * self.rows * self.length

    @property
    def loss_places(self) -> int:
        """Places of each row whose logits exist at a time (``losses.next_token_loss``); a row's last has none."""
        places = self.length - 1
        return max(1, self.chunk_tokens // self.rows) if 0 < self.chunk_tokens < self.rows * places else places


@dataclasses.dataclass(frozen=True)
class SampleSizes:
    """Prefill of ``prompts`` x ``prompt_length``, or a chunk of ``steps`` for ``slots`` over ``cache_length``.

    The engine's stream has ``activation_bytes`` a number, its cache ``cache_bytes``.
    """

    prompts: int
    prompt_length: int
    slots: int
    cache_length: int
    steps: int
    activation_bytes: int = 4
    cache_bytes: int = 4


class Work(NamedTuple):
    """What one run of a program asks of each chip: operations, bytes of memory, bytes received from other chips.

    ``tokens`` are those of all chips together; ``dcn_bytes`` come from other slices, over the data center's network.
    """

    flops: float
    hbm_bytes: float
    ici_bytes: float
    tokens: int
    dcn_bytes: float = 0.0


class Bound(NamedTuple):
    """No faster than this: seconds a run, tokens per second and chip, and what takes so long: ``compute``, ``memory``,
    ``network`` or, between slices, ``data center network``."""

    seconds: float
    tokens_per_chip: float
    by: str


def bound(work: Work, chip: Chip, num_chips: int, activation_dtype: str) -> Bound:
    """The roofline (Williams et al., 2009): the slowest of them, as if the others cost nothing.

    A chip receives at most half of its two-way network bandwidth.
    """
    seconds = sides(work, chip, activation_dtype)
    by = max(seconds, key=seconds.__getitem__)
    return Bound(seconds[by], work.tokens / seconds[by] / num_chips, by)


def sides(work: Work, chip: Chip, activation_dtype: str) -> dict[str, float]:
    """Seconds that each part of the chip is busy; see ``bound``."""
    return {
        "compute": work.flops / chip.peak_flops(activation_dtype),
        "memory": work.hbm_bytes / chip.hbm_bandwidth,
        "network": work.ici_bytes / (chip.ici_bandwidth / 2),
        "data center network": work.dcn_bytes / chip.dcn_bandwidth,
    }


def projections(config: DecoderConfig) -> dict[str, tuple[int, int]]:
    """Inputs and outputs of each dense matrix of a layer."""
    width, heads = config.model_dim, config.num_heads * config.head_dim
    kv_heads = config.num_kv_heads * config.head_dim
    shapes = {"q": (width, heads), "k": (width, kv_heads), "v": (width, kv_heads), "o": (heads, width)}
    if not config.num_experts:
        shapes |= {"gate": (width, config.mlp_dim)} if config.gated_mlp else {}
        shapes |= {"up": (width, config.mlp_dim), "down": (config.mlp_dim, width)}
    return shapes


def layers_flops(config: DecoderConfig) -> int:
    """Operations of all layers' products with parameters, for one token, forward."""
    numbers = sum(a * b for a, b in projections(config).values())
    if config.num_experts:
        numbers += config.experts_per_token * 3 * config.model_dim * config.mlp_dim
        numbers += config.model_dim * config.num_experts
    return 2 * config.num_layers * numbers


def head_flops(config: DecoderConfig) -> int:
    """Operations of the logits of one token."""
    return 2 * config.model_dim * config.vocab_size


def adapter_flops(config: DecoderConfig, rank: int, targets: tuple[str, ...]) -> int:
    """Operations of all adapters, for one token, forward."""
    shapes = projections(config)
    return 2 * config.num_layers * rank * sum(sum(shapes[name]) for name in targets)


def attention_flops(config: DecoderConfig, pairs: int) -> int:
    """Operations of scores and weighted values for so many (query, key) pairs, summed over the layers."""
    return 4 * config.num_heads * config.head_dim * pairs


def row_pairs(config: DecoderConfig, length: int, attention: str) -> int:
    """(Query, key) pairs that one row of one segment computes, summed over the layers.

    length 3    all 9    skipping 1 + 2 + 3 = 6    skipping with a window of 2: 1 + 2 + 2 = 5
    """
    if attention not in SKIPPING:
        return config.num_layers * length * length

    def seen(window: int) -> int:
        near = min(window or length, length)
        return near * (near + 1) // 2 + (length - near) * near

    return sum(seen(window) for window in config.layer_windows or (0,) * config.num_layers)


def train_flops(config: DecoderConfig, sizes: TrainSizes) -> int:
    """Operations of one step on all chips together.

    A product's backward pass is two products, or one where the parameter is frozen. What is recomputed counts:
    ``remat=full`` all of a layer but a product that nothing reads again (the MLP's last), ``dots`` the attention, a
    loss in slices the logits.
    """
    places = sizes.loss_places
    slices = -(-(sizes.length - 1) // places)  # the last one is filled up
    dense = sizes.tokens * layers_flops(config)
    head = sizes.micro_batches * sizes.rows * slices * places * head_flops(config)
    adapters = sizes.tokens * adapter_flops(config, sizes.rank, sizes.targets)
    pairs = sizes.micro_batches * sizes.rows * row_pairs(config, sizes.length, sizes.attention)
    attention = attention_flops(config, pairs)
    flops = (3 if sizes.tune == "full" else 2) * (dense + head) + 3 * adapters
    flops += attention + attention // 2 * (BACKWARD[sizes.attention] + _parts_again(sizes))
    if sizes.remat == "full":
        flops += dense + adapters - sizes.tokens * _unread_flops(config, sizes)
    if sizes.remat != "none":
        flops += attention
    return flops + (head if slices > 1 else 0)


def _parts_again(sizes: TrainSizes) -> int:
    """Products more or fewer than ``BACKWARD``, from the parts into which ``kernels`` cuts a row's queries."""
    if sizes.attention == "chunked" and sizes.length <= kernels.CHUNK:
        return -1
    return 2 if sizes.attention == "cudnn" and sizes.length > kernels.MASKED else 0


def _unread_flops(config: DecoderConfig, sizes: TrainSizes) -> int:
    """Operations of the products, for one token, whose results no gradient of a layer needs."""
    if config.num_experts or config.post_norms:
        return 0
    adapter = sizes.rank * config.model_dim if "down" in sizes.targets else 0
    return 2 * config.num_layers * (config.model_dim * config.mlp_dim + adapter)


def layer_activations(config: DecoderConfig, remat: str, tensor: int = 1) -> float:
    """Numbers that the forward pass keeps for the backward pass, for one token and layer, scores not counted.

    full: the layer's input. dots: that, and the outputs of the products with parameters. none: these, normed inputs,
    turned queries and keys, attention's output and the MLP's product too. What is as wide as the stream (inputs, normed
    ones, what o and down give) lies whole on each of ``tensor`` chips, the rest is cut.
    """
    outputs = {name: b for name, (_, b) in projections(config).items()}
    wide = sum(b for name, b in outputs.items() if name not in ("o", "down"))
    stream = sum(b for name, b in outputs.items() if name in ("o", "down"))
    if config.num_experts:
        wide += config.experts_per_token * 2 * config.mlp_dim
        stream += config.experts_per_token * config.model_dim
    if remat == "full":
        return config.model_dim
    if remat == "dots":
        return config.model_dim + stream + wide / tensor
    wide += (2 * config.num_heads + config.num_kv_heads) * config.head_dim
    wide += config.mlp_dim * (config.experts_per_token if config.num_experts else 1)
    return 3 * config.model_dim + stream + wide / tensor


def train_work(config: DecoderConfig, sizes: TrainSizes, weights: Weights, split: Split, num_slices: int = 1) -> Work:
    """One optimizer step, per chip.

    What slices exchange is counted as if the chips of a slice shared it out: each brings in its part once.
    """
    tokens = sizes.tokens / split.row_parts
    kept = config.num_layers * layer_activations(config, sizes.remat, split.tensor) * sizes.activation_bytes
    logits = 4 * config.vocab_size / split.tensor
    # forward and backward; a gathered weight is read as it arrived
    moved = 2 * sizes.micro_batches * (weights.gathered if split.fsdp > 1 else weights.used)
    moved += sizes.micro_batches * 2 * GRADIENT_BYTES * weights.num_trainable  # the sum, read and written
    moved += GRADIENT_BYTES * weights.num_trainable + 2 * (weights.trainable + weights.optimizer)
    moved += 2 * tokens * (kept + logits)
    stream = config.num_layers * config.model_dim * sizes.activation_bytes
    along_data, along_fsdp = sharding.across_slices(*split, num_slices)
    gathered = sizes.micro_batches * (2 * weights.gathered + weights.gathered_trainable)
    summed = 2 * sizes.micro_batches * weights.trainable
    received = _received(gathered, split.fsdp) + _received(summed, split.data // along_data)
    received += _received(2 * 4 * tokens * stream, split.tensor)  # two sums forward and two backward in a layer
    far = _received(gathered, along_fsdp) / (split.fsdp // along_fsdp)
    far += _received(summed, along_data) / (split.data // along_data)
    return Work(train_flops(config, sizes) / split.chips, moved, received, sizes.tokens, far)


def prefill_work(config: DecoderConfig, sizes: SampleSizes, weights: Weights, split: Split) -> Work:
    """One batch of prompts, per chip; their logits are not made."""
    tokens = sizes.prompts * sizes.prompt_length
    attention = attention_flops(config, sizes.prompts * config.num_layers * sizes.prompt_length**2)
    stream = config.num_layers * config.model_dim * sizes.activation_bytes
    cached = tokens * cache_bytes(config, sizes.cache_bytes) / cache_parts(config, split)
    moved = weights.used - weights.head + 2 * tokens * stream + cached
    received = _received(2 * 2 * tokens * stream, split.tensor)
    return Work((tokens * layers_flops(config) + attention) / split.chips, moved, received, tokens)


def decode_work(config: DecoderConfig, sizes: SampleSizes, weights: Weights, split: Split) -> Work:
    """One chunk of decode steps with every slot busy, per chip. Each step reads the weights and the whole cache.

    Of experts, as many are read as tokens choose in the mean when they choose evenly.
    """
    tokens = sizes.slots * sizes.steps
    read = weights.used
    if config.num_experts:
        read -= weights.experts * (1 - config.experts_per_token / config.num_experts) ** sizes.slots
    cached = sizes.slots * sizes.cache_length * cache_bytes(config, sizes.cache_bytes) / cache_parts(config, split)
    logits = 2 * 4 * sizes.slots * config.vocab_size / split.tensor
    attention = attention_flops(config, config.num_layers * sizes.cache_length)
    flops = tokens * (layers_flops(config) + head_flops(config) + attention)
    stream = config.num_layers * config.model_dim * sizes.activation_bytes
    received = _received(2 * 2 * tokens * stream, split.tensor)
    return Work(flops / split.chips, sizes.steps * (read + cached + logits), received, tokens)


def cache_bytes(config: DecoderConfig, number_bytes: int) -> int:
    """Keys and values of one position in all layers."""
    return 2 * config.num_layers * config.num_kv_heads * config.head_dim * number_bytes


def cache_parts(config: DecoderConfig, split: Split) -> int:
    """Parts into which the cache's heads fall. Heads that do not fall to the chips evenly are kept several times
    (``head_copies``), or whole by each."""
    copies = head_copies.num_copies(config, split.tensor)
    return split.tensor // copies if copies * config.num_kv_heads % split.tensor == 0 else 1


def _received(size: float, parts: int) -> float:
    """Bytes that a chip must receive to have all ``size`` when ``parts`` chips hold a part each."""
    return size * (parts - 1) / parts
