"""The scorer: compiled programs over rows of pairs.

Every token is computed at one place of a row, whatever row it came to lie in, by sums over the same numbers in the same
order; a response's score does not depend on the company it is in.
"""

from __future__ import annotations

import collections
import concurrent.futures
import dataclasses
import itertools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from s3ft_jax.models.config import DecoderConfig
from s3ft_jax.models.kernels import TREE, Attention
from s3ft_jax.scoring.rows import Row, RowArrays, RowShape, empty_row, fill_rows
from s3ft_jax.sharding import ROWS, row_parts

SIDE_BY_SIDE = 2
"""Programs that run at the same time on one device: the host lays out rows meanwhile, and on CPUs one program alone
leaves a core idle for half of the time (benchmarks/RESULTS.md, "Scoring")."""


class ScoringError(ValueError):
    """A response that cannot be scored, or settings that cannot be; the message names which."""


@dataclasses.dataclass(frozen=True)
class Scored:
    """What a model thinks of one response.

    Attributes:
      logprobs: float32 [length], log-probability of each token in nats, at temperature 1.
      greedy: bool [length], whether greedy decoding would have said this token after the ones before it.
    """

    logprobs: np.ndarray
    greedy: np.ndarray

    @property
    def total(self) -> float:
        """Log-probability of the whole response, in nats."""
        return float(np.sum(self.logprobs, dtype=np.float64))

    @property
    def is_greedy(self) -> bool:
        """Whether greedy decoding would have said this response."""
        return bool(self.greedy.all())


class Scorer:
    """Compiled scoring programs for one architecture; parameters are an argument, so that tuned models share them.

    Pairs are laid into rows of one size, a common beginning once (``rows.fill_rows``). The row's size follows from a
    pair's own length and nothing depends on the place in a row, so neither company nor order changes a score: on a CPU
    not by a bit (measured with jax 0.10.2, tested in tests/scoring/test_scorer.py). Logits are made for a slice of the
    wanted places at a time and never kept: with V = 150,000 and the defaults the largest array is
    slice_tokens x V = 77 MB in float32.

    Args:
      graphdef: from ``nnx.split(decoder)``.
      config: the decoder's.
      pad_id: fills unused places; on nobody's path, so nothing sees it.
      batch_tokens: tokens of a row, rounded up to a multiple of 64; pairs that are longer get rows of twice, four
        times, ... as many.
      slice_tokens: places whose logits exist at the same time, of each row.
      activation_dtype: of the decoder's stream.
      mesh: where the parameters lie, if on several devices; each part of data x fsdp then takes a row of its own.

    Raises:
      ScoringError: an argument outside its range, named.
    """

    def __init__(
        self,
        graphdef: nnx.GraphDef,
        config: DecoderConfig,
        *,
        pad_id: int,
        batch_tokens: int = 2048,
        slice_tokens: int = 128,
        activation_dtype: jnp.dtype = jnp.float32,
        mesh: Mesh | None = None,
    ):
        if batch_tokens < 1 or slice_tokens < 1:
            raise ScoringError(
                f"Scorer: batch_tokens ({batch_tokens}) and slice_tokens ({slice_tokens}) must be at least 1"
            )
        if not 0 <= pad_id < config.vocab_size:
            raise ScoringError(f"Scorer: pad_id {pad_id} is not in 0..{config.vocab_size - 1}")
        self.config = config
        self._graphdef, self._pad_id, self._mesh = graphdef, pad_id, mesh
        self._batch_tokens, self._slice_tokens = batch_tokens, slice_tokens
        self._activation_dtype = activation_dtype
        self._attention = Attention(TREE, mesh)
        self._num_rows = 1 if mesh is None else row_parts(mesh)
        # devices that wait for each other must all begin the same program first
        self._side_by_side = SIDE_BY_SIDE if mesh is None else 1
        self._num_compiles = self._num_tokens = 0
        # every host of the mesh reads what was found
        self._score = jax.jit(
            self._score_program, out_shardings=None if mesh is None else NamedSharding(mesh, PartitionSpec())
        )

    @property
    def num_compiles(self) -> int:
        """Programs compiled so far: one per size of row used."""
        return self._num_compiles

    @property
    def num_tokens(self) -> int:
        """Tokens fed to the decoder so far, padding not counted: what several responses share counts once per row."""
        return self._num_tokens

    def logprobs(
        self,
        params: nnx.State,
        prompts: Sequence[Sequence[int]],
        responses: Sequence[Sequence[int]],
        on_progress: Callable[[int, int], None] | None = None,
    ) -> list[np.ndarray]:
        """``score``, of which only the log-probabilities are kept: float32 [len(response)] per response."""
        return [scored.logprobs for scored in self.score(params, prompts, responses, on_progress)]

    def score(
        self,
        params: nnx.State,
        prompts: Sequence[Sequence[int]],
        responses: Sequence[Sequence[int]],
        on_progress: Callable[[int, int], None] | None = None,
    ) -> list[Scored]:
        """What the model thinks of each response token, given its prompt and the response tokens before it.

        Args:
          params: from ``nnx.split(decoder)``.
          prompts: token ids, at least one each; equal ones, or those that begin alike, in any order.
          responses: token ids, at least one each, end token included if it shall be scored.
          on_progress: called with (responses scored, all) after every batch.

        Returns:
          One per response, in the order given.

        Raises:
          ScoringError: a pair that cannot be scored, by number, before anything is run.
        """
        if len(prompts) != len(responses):
            raise ScoringError(f"Scorer: {len(prompts)} prompts but {len(responses)} responses")
        by_shape: dict[RowShape, list[int]] = collections.defaultdict(list)
        for index, (prompt, response) in enumerate(zip(prompts, responses, strict=True)):
            by_shape[self._shape(index, len(prompt), len(response))].append(index)
        results: dict[int, Scored] = {}
        running: collections.deque[concurrent.futures.Future[list[tuple[int, Scored]]]] = collections.deque()

        def finish(most: int) -> None:
            while len(running) > most:
                results.update(running.popleft().result())
                if on_progress is not None:
                    on_progress(len(results), len(prompts))

        with concurrent.futures.ThreadPoolExecutor(self._side_by_side) as threads:
            for shape, indices in sorted(by_shape.items(), key=lambda item: -item[0].size):
                rows = fill_rows(prompts, responses, indices, shape, self._pad_id)
                most = 0  # the first one compiles
                while some := list(itertools.islice(rows, self._num_rows)):
                    self._num_tokens += sum(row.num_tokens for row in some)
                    running.append(threads.submit(self._scored, params, some, shape))
                    finish(most)
                    most = self._side_by_side
            finish(0)
        return [results[index] for index in range(len(prompts))]

    def _shape(self, index: int, prompt_length: int, response_length: int) -> RowShape:
        if prompt_length < 1 or response_length < 1:
            raise ScoringError(
                f"pair {index}: {prompt_length} prompt tokens and {response_length} response tokens; "
                "both must be at least 1"
            )
        fed = prompt_length + response_length - 1  # the last token is fed to nobody
        if fed > self.config.max_positions:
            raise ScoringError(
                f"pair {index}: {prompt_length} prompt tokens + {response_length} response tokens = {fed + 1}, but the "
                f"model reads {self.config.max_positions} (max_positions) and the token after them. Leave this pair "
                "out of the data."
            )
        return RowShape.holding(fed, self._batch_tokens, self.config.max_positions)

    def _scored(self, params: nnx.State, rows: Sequence[Row], shape: RowShape) -> list[tuple[int, Scored]]:
        """Run one program over these rows, filled up with empty ones."""
        filled = [*rows, *[empty_row(shape, self._pad_id)] * (self._num_rows - len(rows))]
        batch = jax.tree.map(lambda *arrays: np.stack(arrays), *[row.arrays for row in filled])
        if self._mesh is not None:
            batch = jax.device_put(batch, NamedSharding(self._mesh, PartitionSpec(ROWS)))
        found = [np.asarray(array) for array in self._score(params, batch)]
        return [
            (number, Scored(logprobs[slots], greedy[slots]))
            for row, logprobs, greedy in zip(rows, *found, strict=False)
            for number, slots in row.slots
        ]

    def _score_program(self, params: nnx.State, rows: RowArrays) -> tuple[jax.Array, jax.Array]:
        """What every slot of the rows asks for.

        Returns:
          [B, T rounded up to slices] float32 and bool: log p of ``targets`` by the logits at ``places``, and whether no
          token is likelier (of equally likely ones: none before it). 0 and False from ``count`` on.
        """
        self._num_compiles += 1  # runs once per trace, that is per compile
        model = nnx.merge(self._graphdef, params)
        hidden, _ = model.hidden(
            rows.tokens, rows.positions, rows.tree, activation_dtype=self._activation_dtype, attention=self._attention
        )
        width = self._slice_tokens
        places, targets = (
            jnp.pad(array, ((0, 0), (0, -array.shape[1] % width))) for array in (rows.places, rows.targets)
        )

        def add_slice(number: jax.Array, found: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            place, target = (
                jax.lax.dynamic_slice_in_dim(array, number * width, width, axis=1) for array in (places, targets)
            )
            logits = model.unembed(jnp.take_along_axis(hidden, place[:, :, None], axis=1))
            chosen = jnp.take_along_axis(logits, target[:, :, None], axis=-1)
            top = jnp.max(logits, axis=-1, keepdims=True)
            spread = jnp.log(jnp.sum(jnp.exp(logits - top), axis=-1))
            earlier = jnp.arange(logits.shape[-1]) < target[:, :, None]
            greedy = ~jnp.any((logits > chosen) | ((logits == chosen) & earlier), axis=-1)
            slices = ((chosen - top)[:, :, 0] - spread, greedy)
            return tuple(
                jax.lax.dynamic_update_slice_in_dim(whole, part, number * width, axis=1)
                for whole, part in zip(found, slices, strict=True)
            )

        num_slices = (jnp.max(rows.count) + width - 1) // width
        start = (jnp.zeros(places.shape, jnp.float32), jnp.zeros(places.shape, bool))
        return jax.lax.fori_loop(0, num_slices, add_slice, start)
