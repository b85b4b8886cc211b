"""Model folders: found or refused with the fix, and written so that transformers gives the same text."""

import json

import huggingface_hub
import pytest
import torch
from huggingface_hub import errors
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from s3ft_jax import hf_folder
from s3ft_jax.hf_folder import HFFolderError
from s3ft_jax.models import families, weights


@pytest.fixture
def folder(tmp_path):
    """Everything but weights."""
    path = tmp_path / "model"
    path.mkdir()
    (path / "config.json").write_text('{"model_type": "llama", "eos_token_id": 2, "bos_token_id": 1}')
    (path / "tokenizer.json").write_text("{}")
    (path / "tokenizer_config.json").write_bytes(b'{"a":\r\n 1}')
    (path / "additional_chat_templates").mkdir()
    (path / "additional_chat_templates" / "tools.jinja").write_text("{{ tools }}")
    (path / "optimizer.pt").write_text("not ours")
    return path


def test_read_finds_config_tokenizer_and_end_tokens(folder):
    found = hf_folder.read(folder)
    assert found.config["model_type"] == "llama"
    assert found.tokenizer_files == (
        "tokenizer.json",
        "tokenizer_config.json",
        "additional_chat_templates/tools.jinja",
    )
    assert found.eos_ids == (2,)
    (folder / "generation_config.json").write_text('{"eos_token_id": [7, 8]}')
    assert hf_folder.read(str(folder)).eos_ids == (7, 8)


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda f: (f / "config.json").unlink(), "config.json: missing. A model folder needs"),
        (lambda f: (f / "config.json").write_text("{"), "config.json: not JSON"),
        (lambda f: (f / "config.json").write_text("[]"), "config.json: expected a JSON object, found list"),
        (lambda f: (f / "tokenizer.json").unlink(), "no tokenizer .*save_pretrained"),
    ],
)
def test_a_folder_that_is_not_whole_names_the_file_and_the_fix(folder, break_it, message):
    break_it(folder)
    with pytest.raises(HFFolderError, match=message):
        hf_folder.read(folder)


def test_paths_that_are_no_folder(folder):
    with pytest.raises(HFFolderError, match="is a file"):
        hf_folder.read(folder / "config.json")
    with pytest.raises(HFFolderError, match="no such folder, and not of the form OWNER/NAME"):
        hf_folder.read("./nowhere/model")
    with pytest.raises(HFFolderError, match="only makes sense for a hub id"):
        hf_folder.read(folder, revision="main")


def test_a_hub_id_without_a_network_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(HFFolderError, match=r"nobody/nothing: is no folder here, is not in the cache.*hf download"):
        hf_folder.read("nobody/nothing")


def answer(status: int):
    """The hub's response that its errors carry."""
    import httpx

    return httpx.Response(status, request=httpx.Request("GET", "https://huggingface.co"))


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (lambda: errors.GatedRepoError("x", response=answer(403)), "is gated. Accept its terms on https://hugging"),
        (lambda: errors.GatedRepoError("x", response=answer(403)), r"`hf auth login`; .*pod.*`export HF_TOKEN=\.\.\.`"),
        (lambda: errors.RepositoryNotFoundError("x", response=answer(404)), "no model on the hub"),
        (lambda: errors.RevisionNotFoundError("x", response=answer(404)), r"\(revision v9\): has no such revision"),
        (lambda: errors.HfHubHTTPError("x", response=answer(500)), "cannot be fetched from the hub"),
    ],
)
def test_hub_errors_are_told_apart(monkeypatch, error, message):
    def refuse(*_, **__):
        raise error()

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(HFFolderError, match=message):
        hf_folder.read("owner/model", revision="v9")


def test_only_the_needed_files_are_fetched(monkeypatch, folder):
    asked = {}

    def fetch(name, *, revision, allow_patterns):
        asked.update(name=name, revision=revision, patterns=allow_patterns)
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    assert hf_folder.read("owner/model").path == folder
    assert asked["name"] == "owner/model"
    assert {"config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja"} <= set(asked["patterns"])
    assert not any(pattern.endswith((".bin", ".pt", "*")) for pattern in asked["patterns"][:-1])
    hf_folder.read("owner/model", weights=False)
    assert "tokenizer.json" in asked["patterns"] and not any("safetensors" in part for part in asked["patterns"])


def test_write_model_copies_bytes_and_sets_the_end_tokens(folder, tmp_path):
    (folder / "generation_config.json").write_text('{"temperature": 0.6, "eos_token_id": 2}')
    target = tmp_path / "out"
    hf_folder.write_model(
        target,
        hf_folder.read(folder),
        write_weights=lambda path: (path / "model.safetensors").write_bytes(b"w"),
        eos_ids=(2, 5),
        model_card="# card\n",
    )
    names = {str(path.relative_to(target)) for path in target.rglob("*") if path.is_file()}
    copied = {"config.json", "tokenizer.json", "tokenizer_config.json", "additional_chat_templates/tools.jinja"}
    assert names == copied | {"generation_config.json", "README.md", "model.safetensors"}
    for name in copied:
        assert (target / name).read_bytes() == (folder / name).read_bytes()
    written = json.loads((target / "generation_config.json").read_text())
    assert written == {"temperature": 0.6, "eos_token_id": [2, 5], "bos_token_id": 1}
    assert (target / "README.md").read_text() == "# card\n"


def test_an_adapters_folder_has_no_config_of_a_whole_model(folder, tmp_path):
    hf_folder.write_model(
        tmp_path / "out",
        hf_folder.read(folder),
        write_weights=lambda path: (path / "adapter_model.safetensors").write_bytes(b"w"),
        eos_ids=(2,),
        model_card="# card\n",
        adapter=True,
    )
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"adapter_model.safetensors", "tokenizer.json", "generation_config.json", "README.md"} <= names
    assert "config.json" not in names


def test_write_model_is_all_or_nothing(folder, tmp_path):
    source, target = hf_folder.read(folder), tmp_path / "out"

    def fail(path):
        raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        hf_folder.write_model(target, source, write_weights=fail, eos_ids=(2,), model_card="")
    assert not target.exists()
    hf_folder.write_model(target, source, write_weights=lambda path: None, eos_ids=(2,), model_card="one")
    with pytest.raises(HFFolderError, match="already there"):
        hf_folder.write_model(target, source, write_weights=lambda path: None, eos_ids=(2,), model_card="two")
    assert (target / "README.md").read_text() == "one"
    hf_folder.write_model(target, source, write_weights=lambda path: None, eos_ids=(2,), model_card="two", replace=True)
    assert (target / "README.md").read_text() == "two"
    assert not list(tmp_path.glob("*.partial"))
    with pytest.raises(HFFolderError, match="was read from"):
        hf_folder.write_model(folder, source, write_weights=lambda path: None, eos_ids=(2,), model_card="")


def test_transformers_writes_the_same_text_with_the_export(stories260k_folder, tmp_path):
    source = hf_folder.read(stories260k_folder)
    config, weight_map = families.read_config(source.config)
    params = weights.load(source.path, config, weight_map)
    dtypes = weights.source_dtypes(source.path)
    target = hf_folder.write_model(
        tmp_path / "out",
        source,
        write_weights=lambda path: weights.export(
            params, config, weight_map, path, source_dtypes=dtypes, max_shard_bytes=300_000
        ),
        eos_ids=source.eos_ids,
        model_card="# card\n",
    )
    assert (target / weights.INDEX_NAME).exists()
    texts = []
    for path in (stories260k_folder, target):
        tokenizer = AutoTokenizer.from_pretrained(path)
        model = AutoModelForCausalLM.from_pretrained(path)
        assert GenerationConfig.from_pretrained(path).eos_token_id == [1, 2]
        prompt = tokenizer.apply_chat_template([{"role": "user", "content": "Once upon a time"}], tokenize=False)
        ids = tokenizer(prompt, add_special_tokens=False, return_tensors="pt").input_ids
        assert ids[0, 0] == 1
        assert ids[0, 1] != 1
        with torch.no_grad():
            texts.append(tokenizer.decode(model.generate(ids, max_new_tokens=60, do_sample=False)[0]))
    assert texts[0] == texts[1]
    assert len(texts[0]) > 100


def test_copy_tokenizer_makes_a_loadable_folder(stories260k_folder, tmp_path):
    hf_folder.copy_tokenizer(hf_folder.read(stories260k_folder), tmp_path / "tokenizer")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "tokenizer")
    assert tokenizer.decode(tokenizer("Once upon a time").input_ids, skip_special_tokens=True) == "Once upon a time"
