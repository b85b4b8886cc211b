"""Stage part: the model that the judge ``model`` asks: an endpoint, a local folder, or the model being tuned.

In: ``judge.model`` of the config. Out: ``ask`` for judges/model.py, and in words what is asked, for keys and report.
JAX is imported only where this project's own engine replies.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ml_collections import ConfigDict

from s3ft_jax.endpoint import Endpoint
from s3ft_jax.judges.chat import Chat
from s3ft_jax.judges.composition import single_names
from s3ft_jax.judges.model import MODEL, PROMPT, Ask, ask_canaries, check_canaries, check_prompt
from s3ft_jax.progress import say
from s3ft_jax.records import Example
from s3ft_jax.workdir import Workdir, WorkdirError

if TYPE_CHECKING:
    from s3ft_jax.generation.settings import EngineSettings
    from s3ft_jax.responder import Model


@dataclasses.dataclass(frozen=True)
class Consultant:
    """A model that is asked for verdicts.

    Attributes:
      ask: prompts -> replies.
      prompt: the wording.
      title: what is asked, in words.
      version: everything its replies follow from.
    """

    ask: Ask
    prompt: str
    title: str
    version: str


def is_asked(config: ConfigDict) -> bool:
    """Whether ``judge.name`` has the judge ``model`` in it."""
    return bool(config.judge.name) and MODEL in single_names(config.judge.name)


def open_consultant(config: ConfigDict, workdir: Workdir) -> Consultant:
    """The judging model of this config; loaded when it is first asked.

    Raises:
      JudgeError: the wording cannot be used.
      WorkdirError: endpoint and path are both set, or an endpoint's model has no name.
    """
    own = config.judge.model
    prompt = own.prompt or PROMPT
    check_prompt(prompt)
    if own.endpoint and own.path:
        raise WorkdirError("judge.model: endpoint and path are both set; the judge is one model, leave one empty")
    if own.endpoint:
        if not own.name:
            raise WorkdirError("judge.model.name is empty: the endpoint needs the name under which it serves the model")
        endpoint = Endpoint(own.endpoint, own.key_variable, own.num_parallel)
        ask: Ask = Chat(endpoint, own.name, own.max_new_tokens)
        who, title = f"{own.endpoint} {own.name}", f"{own.name} at {own.endpoint}"
    else:
        who = _digest(workdir, own.path)
        ask = functools.partial(_reply, str(workdir.path), own.path, _sizes(config))
        title = own.path or "the model being tuned, before tuning"
    version = hashlib.sha256(f"{who}\0{prompt}\0{own.max_new_tokens}".encode()).hexdigest()
    return Consultant(ask, prompt, title, version)


_PASSED: dict[str, dict[str, tuple[int, int]]] = {}
"""Versions of consultants whose canaries passed in this process, with what they passed."""


def try_canaries(config: ConfigDict, examples: Sequence[Example], consultant: Consultant) -> dict[str, tuple[int, int]]:
    """Ask the canaries once in a process, say how it went, stop where too many fail.

    Returns:
      kind of canary -> how many passed, and how many were asked.

    Raises:
      JudgeError: see ``check_canaries``.
    """
    if consultant.version in _PASSED:
        return _PASSED[consultant.version]
    canaries = ask_canaries(examples, consultant.ask, consultant.prompt)
    shown = ", ".join(f"{kind} {canaries.passed[kind]}/{count}" for kind, count in canaries.asked.items())
    say(f"judge: canaries of {consultant.title}: {shown}")
    check_canaries(canaries, config.judge.model.least_canaries)
    _PASSED[consultant.version] = {kind: (canaries.passed[kind], count) for kind, count in canaries.asked.items()}
    return _PASSED[consultant.version]


def _sizes(config: ConfigDict) -> tuple[int, EngineSettings]:
    from s3ft_jax.stages.sampler import engine_settings

    return config.judge.model.max_new_tokens, engine_settings(config)


def _digest(workdir: Workdir, path: str) -> str:
    """What tells this model from others: digest of its parameters, or of its files."""
    if not path:
        return workdir.stage_digest("import")
    from s3ft_jax import hf_folder
    from s3ft_jax.stages.import_model import folder_digest

    return folder_digest(hf_folder.read(path).path)


@functools.lru_cache(maxsize=1)
def _load(workdir: str, path: str) -> Model:
    """The judging model and its prompts, on the first device."""
    from s3ft_jax.stages import launch

    launch.prepare_jax()
    return launch.load_folder(path) if path else launch.load_model(Workdir(workdir))


def _reply(workdir: str, path: str, sizes: tuple[int, EngineSettings], prompts: Sequence[str]) -> list[str]:
    """Replies of this project's own engine, greedy."""
    from s3ft_jax.generation.sampling import Sampling
    from s3ft_jax.responder import ResponseSettings, respond

    model = _load(workdir, path)
    max_new_tokens, engine = sizes
    asked = [
        Example(f"judge/{number:05d}", "judge", "judge", ({"role": "user", "content": text},), "", MODEL, {})
        for number, text in enumerate(prompts)
    ]
    settings = ResponseSettings(
        sampling=Sampling(temperature=0.0),
        max_new_tokens=max_new_tokens,
        seed=0,
        engine=engine,
    )
    replies = respond(asked, "own", model, settings)
    return [reply.text for reply in replies]
