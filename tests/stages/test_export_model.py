"""export: a Hugging Face folder that transformers loads and that gives the same greedy text."""

import jax.numpy as jnp
import numpy as np
import pytest

from s3ft_jax.chat_templates import with_args
from s3ft_jax.models.lora import LoraError
from s3ft_jax.prompts import PromptEncoder
from s3ft_jax.records import Response
from s3ft_jax.shards import read_shards
from s3ft_jax.stages import export_model, train, tuned_model
from s3ft_jax.workdir import WorkdirError
from small import accept


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_transformers_gives_the_same_greedy_answers(copied):
    torch = pytest.importorskip("torch")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    config, workdir = copied
    export_model.run(config, workdir, "s3ft", 0)
    folder = str(workdir / "export/s3ft/seed-0")
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    for response in read_shards(workdir, Response, "scores/s3ft/seed-0/test-responses"):
        prompt = torch.tensor([response.prompt_ids])
        with torch.no_grad():
            ids = model.generate(prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=64, do_sample=False)[
                0, prompt.shape[1] :
            ]
        assert tuple(ids.tolist()) == response.response_ids
        assert tokenizer.decode(ids, skip_special_tokens=True) == response.text


def test_the_card_says_what_was_done(copied):
    config, workdir = copied
    export_model.run(config, workdir, "sft", 0)
    card = (workdir / "export/sft/seed-0/README.md").read_text()
    for text in ("sft", "2502.08130", "train.learning_rate", "arithmetic", "gold"):
        assert text in card


def test_the_card_says_what_the_chat_template_was_told(copied):
    config, workdir = copied
    file = workdir / "base/tokenizer/chat_template.jinja"
    template = PromptEncoder(str(file.parent)).template
    file.write_text(with_args(template + "{# enable_thinking #}", {"enable_thinking": False}))
    accept(workdir, "import", "base/tokenizer/")
    export_model.run(config, workdir, "sft", 0)
    exported = workdir / "export/sft/seed-0"
    assert (exported / "chat_template.jinja").read_text() == file.read_text()
    assert "(model.template_args: enable_thinking=False)" in (exported / "README.md").read_text()


def test_peft_loads_the_adapter_and_gives_the_same_logits(copied):
    torch, peft = pytest.importorskip("torch"), pytest.importorskip("peft")
    config, workdir = copied
    with config.unlocked():
        config.train.tune, config.train.lora.targets, config.train.lora.base_dtype = "lora", ("all",), "int8"
        config.train.per_method.sft.learning_rate = 0.1  # far enough from the base in 4 steps
        config.export.form = "adapter"
    train.run(config, workdir, "sft", 0, redo=True)
    export_model.run(config, workdir, "sft", 0)
    folder = workdir / "export/sft/seed-0-adapter"
    model = peft.AutoPeftModelForCausalLM.from_pretrained(str(folder))
    tokens = np.arange(5, 25)[None]
    with torch.no_grad():
        found = model(torch.from_numpy(tokens)).logits.numpy()
        with model.disable_adapter():
            plain = model(torch.from_numpy(tokens)).logits.numpy()
    decoder = tuned_model.load(workdir, "sft", 0, merge=False)
    expected, _ = decoder(jnp.asarray(tokens), jnp.arange(20)[None], jnp.ones((1, 20), jnp.int32))
    assert np.max(np.abs(expected - found)) <= 1e-5 * np.max(np.abs(found))
    assert np.max(np.abs(plain - found)) > 1e-2 * np.max(np.abs(found))
    card = (folder / "README.md").read_text()
    assert "library_name: peft" in card and "kernels rounded to int8" in card
    assert not (folder / "config.json").exists() and (folder / "tokenizer.json").exists()


def test_a_form_that_cannot_be_is_refused(copied):
    config, workdir = copied
    with config.unlocked():
        config.export.form = "adapter"
    with pytest.raises(LoraError, match=r"tuned in full, or they were merged\. Export it merged"):
        export_model.run(config, workdir, "sft", 0)
    with config.unlocked():
        config.export.form = "gguf"
    with pytest.raises(WorkdirError, match=r"export\.form: 'gguf'; choose from \['merged', 'adapter'\]"):
        export_model.run(config, workdir, "sft", 0)
