"""Sampling by an outside engine as a stage: a server with our engine behind it gives the selections of our own."""

import dataclasses
import json
import os
import subprocess
import sys
import threading

import pytest

from engines import Sampled, plain, serve, sglang, vllm
from s3ft_jax import endpoint
from s3ft_jax.generation.engine import Request
from s3ft_jax.generation.sampling import GenerationError, Sampling, request_key
from s3ft_jax.outside import OutsideError
from s3ft_jax.outside.server import request_seed
from s3ft_jax.records import SAMPLED, Example, Response
from s3ft_jax.responder import asks_of, engine_of
from s3ft_jax.shards import read_shards
from s3ft_jax.stages import gather, judge, recipe, sample, sampler, select
from s3ft_jax.stages.launch import load_model
from s3ft_jax.workdir import SettingsChanged, Workdir, WorkdirError
from served import serving
from small import ROOT, SMALL, small_config


@pytest.fixture(scope="module")
def behind(walked):
    """A sampler for servers: our own engine, whose keys are told by the seeds that are sent.

    What all tests ask is sampled once, together. A shorter limit gives the beginning of the same response.
    """
    config, workdir = walked
    model, own = load_model(workdir), config.sample
    engine = engine_of(model, sampler.engine_settings(config))
    examples = workdir.read_records(Example, "examples/train.jsonl")
    asked = [(own.seed, e.id, origin, index) for e in examples for origin in SAMPLED for index in range(2)]
    keys = {request_seed(*one): request_key(*one) for one in asked}
    made, lock = {}, threading.Lock()

    def generate(wanted, length):
        requests = [Request(prompt, keys[seed], length, Sampling(own.temperature)) for prompt, seed in wanted]
        made.update(zip(wanted, engine.generate(model.params, requests), strict=True))

    together = [
        (ask.prompt_ids, request_seed(own.seed, ask.example_id, seeded, 0))
        for origin, seeded in (("own", "own"), ("paraphrase", "paraphrase"), ("paraphrase", "own"))
        for ask in asks_of(examples, origin, model.encoder)
    ]
    generate(together, own.max_new_tokens)

    def sampled(body):
        assert (body["top_k"], body["top_p"], body["min_p"]) == (-1, 1.0, 0.0)
        assert body["temperature"] == own.temperature or body["max_tokens"] == 1
        place = (tuple(body["prompt"]), body["seed"])
        with lock:
            if place not in made:
                generate([place], body["max_tokens"])
        ids = tuple(int(token) for token in made[place].response_ids)[: body["max_tokens"]]
        logprobs = tuple(float(value) for value in made[place].logprobs)[: len(ids)]
        return Sampled(ids, logprobs, ids[-1] in model.encoder.stop_ids, model.encoder.decode_response(ids))

    return sampled


@pytest.fixture
def server(behind, monkeypatch):
    monkeypatch.setattr(endpoint, "FIRST_PAUSE", 0.01)
    with serving(serve(behind)) as served:
        yield served


@pytest.fixture
def unsampled(copied, monkeypatch):
    """A workdir in which nothing was sampled yet; our own engine must not be loaded."""
    _, workdir = copied
    for pattern in ("responses/*", "verdicts/*", "selections/*", "manifests/*-own.json", "manifests/*-paraphrase.json"):
        for name in workdir.matching([pattern]):
            (workdir / name).unlink()
    for name in workdir.matching(["manifests/select-*.json"]):
        (workdir / name).unlink()
    monkeypatch.setattr(sampler, "load_model", None)
    return workdir


def outside(server, *overrides):
    return small_config(
        f"sample.outside.endpoint={server.address}",
        "sample.outside.name=m",
        "sample.outside.num_parallel=4",
        "sample.outside.retries=2",
        *overrides,
    )


def facts_of(workdir, origin):
    return workdir.manifest(f"sample-{origin}")["facts"]["outside"]


@pytest.mark.parametrize("guise", [vllm, sglang])
def test_selections_are_those_of_our_own_engine(walked, unsampled, server, behind, guise, capsys):
    _, before = walked
    workdir, config = unsampled, outside(server)
    server.reply = serve(behind, guise)
    for origin in ("own", "paraphrase"):
        sample.run(config, workdir, origin)
        judge.run(config, workdir, origin)
        known = read_shards(before, Response, f"responses/{origin}")
        found = read_shards(workdir, Response, f"responses/{origin}")
        assert [dataclasses.replace(r, logprob=0.0) for r in found] == [
            dataclasses.replace(r, logprob=0.0) for r in known
        ]
        assert [r.logprob for r in found] == pytest.approx([r.logprob for r in known], abs=1e-3)
        assert facts_of(workdir, origin) == {
            "server": server.address,
            "model": "m",
            "known_as": "/weights/m",
            "missing": [],
            "retries": 0,
            "returned": 24,
            "same": 0,
            "changed": 0,
            "without_logprob": 0,
        }
    for method in config.methods:
        select.run(config, workdir, method)
        name = f"selections/{method}.jsonl"
        assert (workdir / name).read_bytes() == (before / name).read_bytes()
    assert f"sample own: m (/weights/m) at {server.address}" in capsys.readouterr().out.replace("\n", "")


def test_text_alone_is_marked_counted_and_trained_on(walked, unsampled, server, behind, capsys):
    _, before = walked
    workdir, config = unsampled, outside(server)
    server.reply = serve(behind, plain)
    sample.run(config, workdir, "own")
    judge.run(config, workdir, "own")
    select.run(config, workdir, "ssr")
    told = facts_of(workdir, "own")
    assert (told["returned"], told["same"], told["changed"], told["without_logprob"]) == (0, 24, 0, 24)
    assert len(told["missing"]) == 2 and "what could not be had: token ids: none are" in capsys.readouterr().out
    known = {r.example_id: r for r in read_shards(before, Response, "responses/own")}
    for response in read_shards(workdir, Response, "responses/own"):
        mine = known[response.example_id]
        assert (response.text, response.ended, response.encoded) == (mine.text, mine.ended, "same")
    chosen = [name for name in (workdir / "selections/ssr.jsonl").read_text().splitlines() if '"origin": "own"' in name]
    assert chosen


def test_a_repair_that_goes_on_from_gold(unsampled, server):
    workdir, config = unsampled, outside(server, "methods=repair")
    sample.run(config, workdir, "own")
    judge.run(config, workdir, "own")
    sample.run(config, workdir, "repair")
    repairs = read_shards(workdir, Response, "responses/repair")
    assert repairs and all(repair.given and not repair.encoded and repair.logprob < 0 for repair in repairs)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sampler, "load_model", load_model)
        sample.run(small_config("methods=repair"), workdir, "repair", redo=True)
    ours = read_shards(workdir, Response, "responses/repair")
    assert [r.response_ids for r in ours] == [r.response_ids for r in repairs]


def test_a_server_that_dies_keeps_what_was_done_and_the_same_command_goes_on(unsampled, server, behind):
    workdir, config = unsampled, outside(server, "sample.outside.num_parallel=1")
    good, asked = serve(behind), []

    def dying(path, body):
        asked.append(path)
        return (0, b"") if len(asked) > 24 else good(path, body)  # the list, 12 probes, one shard of 8, and 3 more

    server.reply = dying
    with pytest.raises(OutsideError, match=r"does not reply .*Is the server there\? What was sampled is kept"):
        sample.run(config, workdir, "own")
    kept = {name: (workdir / name).read_bytes() for name in workdir.matching(["responses/own-*"])}
    assert len(kept) == 1 and workdir.manifest("sample-own") is None
    with serving(serve(behind)) as moved:
        sample.run(outside(moved), workdir, "own")
        told = facts_of(workdir, "own")
        assert (told["server"], told["returned"], told["retries"]) == (moved.address, 24, 0)
        assert len([body for _, _, body in moved.seen if body and body["max_tokens"] == 64]) == 16
    assert {name: (workdir / name).read_bytes() for name in kept} == kept


def test_a_server_may_move_but_not_change_its_model(unsampled, server, capsys):
    workdir = unsampled
    sample.run(outside(server), workdir, "own")
    asked = len(server.seen)
    sample.run(outside(server, "sample.outside.endpoint=http://127.0.0.1:9/v1"), workdir, "own")
    sample.run(outside(server, "sample.outside.retries=0", "sample.num_slots=8"), workdir, "own")
    assert capsys.readouterr().out.count("sample own: already done") == 2 and len(server.seen) == asked
    with pytest.raises(SettingsChanged, match=r"outside\.name: m -> other"):
        sample.run(outside(server, "sample.outside.name=other"), workdir, "own")
    with pytest.raises(SettingsChanged, match=r"outside\.name: m -> \(not set\)"):
        sample.run(small_config(), workdir, "own")


def test_without_log_probabilities_the_likeliest_is_refused_at_once(unsampled, server, behind):
    workdir = unsampled
    server.reply = serve(behind, plain)
    several = ("sample.num_own=2", "methods=s3ft,self-output")
    with pytest.raises(WorkdirError, match=r"methods self-output choose the likeliest of 2 own responses, but http"):
        sample.run(outside(server, *several), workdir, "own")
    assert not workdir.matching(["responses/own-*"])
    sample.run(outside(server, "methods=s3ft,self-output"), workdir, "own", redo=True)
    assert facts_of(workdir, "own")["without_logprob"] == 24


def test_no_device_is_opened(unsampled, server):
    """The server may have it: with a platform that does not exist, JAX would stop at its first computation."""
    overrides = [*SMALL, f"sample.outside.endpoint={server.address}", "sample.outside.name=m"]
    command = [sys.executable, "-m", "s3ft_jax", "sample", "own", f"--workdir={unsampled.path}"]
    command += [f"--config={ROOT / 'configs' / 'quickstart.py'}:task=arithmetic", *(f"--config.{o}" for o in overrides)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "nowhere"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert facts_of(unsampled, "own")["returned"] == 24


def test_tries_again_are_counted_and_said_now_and_then(unsampled, server, behind, capsys):
    good, known = serve(behind), set()

    def loading(path, body):
        """Each request fails once."""
        if body is None or str(body) in known:
            return good(path, body)
        known.add(str(body))
        return 503, b"loading"

    server.reply = loading
    sample.run(outside(server), unsampled, "own")
    told = facts_of(unsampled, "own")
    assert told["returned"] == 24 and told["retries"] == len(known) >= 24
    said = capsys.readouterr().out.replace("\n", "")
    assert 1 <= said.count("trying again in") <= 3 and "HTTP 503" in said


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("sample.outside.name=",), r"sample\.outside\.name is empty"),
        (("sample.stop=('X',)",), r"sample\.stop = \('X',\): outside engines differ"),
        (("sample.outside.endpoint=localhost:8000/v1",), r"sample\.outside: .*begins with http://"),
        (("sample.outside.num_parallel=0",), r"sample\.outside: .*num_parallel = 0 is below 1"),
    ],
)
def test_settings_that_cannot_be_are_refused_before_anything_is_done(overrides, message):
    config = small_config("sample.outside.endpoint=http://127.0.0.1:9/v1", "sample.outside.name=m", *overrides)
    with pytest.raises(WorkdirError, match=message):
        sample.settings_of(config, "own")


def test_our_own_engine_has_no_setting_of_an_outside_one():
    own = sample.settings_of(small_config("sample.outside.name=m", "sample.outside.num_parallel=3"), "own")
    assert "outside" not in own and own["num_slots"] == 16 and own == sample.settings_of(small_config(), "own")


def test_the_report_says_who_sampled(copied, server):
    config, workdir = copied
    manifest = workdir.manifest("sample-own")
    assert gather.gather(config, workdir, gather.models_of([], ())).outside == {}
    told = {"server": "http://x/v1", "model": "m", "returned": 24, "same": 0, "changed": 0, "without_logprob": 0}
    manifest["facts"]["outside"] = told
    workdir.write_bytes("manifests/sample-own.json", json.dumps(manifest).encode())
    assert gather.gather(config, workdir, gather.models_of([], ())).outside == {"own": told}


@pytest.mark.parametrize("wrong", ["cache_dtype=int4", "num_slots=-1", "attention=flash", "activation_dtype=float16"])
def test_settings_of_our_own_engine_are_checked_before_anything_is_run(wrong, tmp_path):
    name, value = wrong.split("=")
    with pytest.raises(GenerationError, match=f"sample.{name}.*{value}"):
        recipe.run(small_config(f"sample.{wrong}"), Workdir(str(tmp_path)))
    assert not list(tmp_path.iterdir())
