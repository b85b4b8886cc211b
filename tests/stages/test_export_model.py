"""export: a Hugging Face folder that transformers loads and that gives the same greedy text."""

import pytest

from s3ft_jax.records import Response
from s3ft_jax.stages import export_model


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_transformers_gives_the_same_greedy_answers(copied):
    torch = pytest.importorskip("torch")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    config, workdir = copied
    export_model.run(config, workdir, "s3ft", 0)
    folder = str(workdir / "export/s3ft/seed-0")
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    for response in workdir.read_shards(Response, "scores/s3ft/seed-0/test-responses"):
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
