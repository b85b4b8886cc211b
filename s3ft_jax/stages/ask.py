"""``s3ft ask``: one question to a model, its answer printed while it is written. For a quick look; nothing is kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from s3ft_jax.generation.engine import Request
from s3ft_jax.generation.sampling import Sampling, request_key
from s3ft_jax.generation.settings import EngineSettings
from s3ft_jax.progress import console, say
from s3ft_jax.prompts import PromptEncoder
from s3ft_jax.responder import Model, engine_of
from s3ft_jax.stages import tuned_model
from s3ft_jax.stages.evaluate import UNTUNED
from s3ft_jax.stages.launch import BASE, load_folder, load_model, pocket_model_folder
from s3ft_jax.workdir import Workdir, WorkdirError

CHUNK_STEPS = 4
"""Tokens between two looks: few, so that the answer is seen as it is written."""


def run(
    workdir: Workdir | None,
    question: str,
    *,
    path: str = "",
    method: str = UNTUNED,
    seed: int = 0,
    temperature: float = 0.0,
    max_new_tokens: int = 256,
) -> None:
    """Print the answer.

    Args:
      workdir: with a tuned model, where no ``path`` is given.
      question: one user turn.
      path: Hugging Face folder or hub id, or ``pocket``.
      method, seed: which model of the workdir.
      temperature: 0: greedy; else drawn by ``seed``.
      max_new_tokens: limit of the answer.

    Raises:
      WorkdirError: neither or both of ``path`` and ``workdir`` are given.
      GenerationError: the question is too long, or a setting that cannot be.
    """
    if bool(path) == (workdir is not None):
        raise WorkdirError("s3ft ask: give --model=DIR, or --workdir=DIR with --method, and not both")
    model = _load(workdir, path, method, seed)
    prompt = model.encoder.encode_prompt(({"role": "user", "content": question},))
    written = _Written(model.encoder)
    limit = min(max_new_tokens, max(1, model.config.max_positions - len(prompt)))
    engine = engine_of(model, EngineSettings(num_slots=1, chunk_steps=CHUNK_STEPS))
    key = request_key(seed, question, "own", 0)
    request = Request(prompt, key, limit, Sampling(temperature=temperature), over=written.show)
    (sampled,) = engine.generate(model.params, [request])
    console.out("", highlight=False)
    if not sampled.ended:
        say(f"(cut after {limit} tokens; --max_new_tokens)")


def _load(workdir: Workdir | None, path: str, method: str, seed: int) -> Model:
    if workdir is None:
        return load_folder(str(pocket_model_folder()) if path == "pocket" else path)
    if method == UNTUNED:
        return load_model(workdir)
    return Model.of(tuned_model.load(workdir, method, seed), PromptEncoder(str(workdir / BASE / "tokenizer")))


class _Written:
    """Prints what is new of a response each time it is shown more of its ids."""

    def __init__(self, encoder: PromptEncoder, print_text: Callable[..., None] = console.out):
        self.encoder, self.print_text, self.text = encoder, print_text, ""

    def show(self, ids: Sequence[int], before: int) -> None:
        """As ``Request.over``, but a response is never over for it."""
        text = self.encoder.decode_response(ids)
        if not text.endswith("\ufffd"):  # a letter whose bytes are not all there yet
            self.print_text(text[len(self.text) :], end="", highlight=False)
            self.text = text
