"""A tokenizer, asks and a server of completions whose answer follows from the seed."""

import pytest

from engines import Sampled, serve
from s3ft_jax import endpoint
from s3ft_jax.generation.sampling import Sampling
from s3ft_jax.outside import Server
from s3ft_jax.prompts import PromptEncoder
from s3ft_jax.responder import Ask, ResponseSettings
from s3ft_jax.stages.launch import pocket_model_folder
from served import serving


@pytest.fixture(scope="package")
def encoder():
    return PromptEncoder(str(pocket_model_folder()))


@pytest.fixture
def sample(encoder):
    """A sampler: a sum that follows from the seed, cut at max_tokens."""

    def made(body):
        text = f"The sum is {body['seed'] % 97}."
        ids = (*encoder.encode_text(text), encoder.stop_ids[0])[: body["max_tokens"]]
        ended = ids[-1] in encoder.stop_ids
        logprobs = tuple(-0.25 - place / 64 for place in range(len(ids)))
        return Sampled(ids, logprobs, ended, encoder.decode_response(ids))

    return made


@pytest.fixture
def served(sample, monkeypatch):
    """In the guise of vLLM; tests put another ``reply`` in its place."""
    monkeypatch.setattr(endpoint, "FIRST_PAUSE", 0.01)
    with serving(serve(sample)) as server:
        yield server


@pytest.fixture
def server(served, encoder):
    return Server(endpoint.Endpoint(served.address, num_parallel=4, retries=2), "m", encoder)


@pytest.fixture
def asks(encoder):
    questions = [f"What is {number} plus 4?" for number in range(6)]
    prompts = [encoder.encode_prompt([{"role": "user", "content": question}]) for question in questions]
    return [Ask(f"t/train/{number}", prompt) for number, prompt in enumerate(prompts)]


@pytest.fixture
def settings():
    return ResponseSettings(sampling=Sampling(temperature=0.7), max_new_tokens=40, seed=3)
