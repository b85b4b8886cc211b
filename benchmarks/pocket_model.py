"""What the shipped pocket model can do before any tuning: the figures that make it fit for S3FT.

    python -m benchmarks.pocket_model [--model FOLDER] [--count 512]

Prints, per target: right in the base's own wording (greedy), right on the target's test split (greedy), own answers
right on the training questions (sampled as in the quickstart), paraphrases accepted of those that were wrong, nats per
token of gold; and every general skill by exact match and, where there are choices, by likelihood.
"""

from __future__ import annotations

import argparse
import json

import numpy as np
from flax import nnx

from s3ft_jax import hf_folder
from s3ft_jax.generation.sampling import Sampling
from s3ft_jax.generation.settings import EngineSettings
from s3ft_jax.judges.pool import judge_all
from s3ft_jax.models import families, weights
from s3ft_jax.models.decoder import Decoder
from s3ft_jax.prompts import PromptEncoder
from s3ft_jax.records import Example
from s3ft_jax.responder import Model, ResponseSettings, respond, shared_scorer
from s3ft_jax.stages.launch import pocket_model_folder, prepare_jax
from s3ft_jax.tasks.pocket import POCKET, skills


class Asked:
    """One model that can be asked."""

    def __init__(self, folder: str):
        source = hf_folder.read(folder)
        self.config, weight_map = families.read_config(source.config)
        params = weights.load(source.path, self.config, weight_map)
        self.graphdef = nnx.graphdef(nnx.eval_shape(lambda: Decoder(self.config, rngs=nnx.Rngs(0))))
        self.params, self.encoder = params, PromptEncoder(str(source.path))

    def right(self, examples: list[Example], origin: str, temperature: float) -> list[bool]:
        """Whether each answer was judged right."""
        settings = ResponseSettings(
            sampling=Sampling(temperature=temperature), max_new_tokens=96, seed=0, engine=EngineSettings(num_slots=128)
        )
        responses = respond(examples, origin, Model(self.graphdef, self.params, self.config, self.encoder), settings)
        verdicts = judge_all(list(zip(examples, responses, strict=True)))
        return [v.outcome == "right" and r.ended for v, r in zip(verdicts, responses, strict=True)]

    def logprobs(self, examples: list[Example], texts: list[str]) -> list[np.ndarray]:
        """Per-token log-probability of each text as the answer."""
        scorer = shared_scorer(self.graphdef, self.config, self.encoder.pad_id, 2048, None)
        prompts = [self.encoder.encode_prompt(e.messages) for e in examples]
        responses = [self.encoder.encode_response(e.messages, t) for e, t in zip(examples, texts, strict=True)]
        return scorer.logprobs(self.params, prompts, responses)


def target_figures(model: Asked, name: str, count: int) -> dict[str, float]:
    """Figures of one target, as fractions (nats for the last three)."""
    task = POCKET[name]
    train, test = task.examples("train", count, 0), task.examples("test", count, 0)
    own = model.right(train, "own", 0.7)
    wrong = [example for example, right in zip(train, own, strict=True) if not right]
    figures = {
        "own wording": float(np.mean(model.right(task.examples("test", count, 0, wording="plain"), "own", 0.0))),
        "test": float(np.mean(model.right(test, "own", 0.0))),
        "own right": float(np.mean(own)),
        "paraphrase accepted": float(np.mean(model.right(wrong, "paraphrase", 0.7))),
    }
    for style in ("near", "mid", "far"):
        examples = task.examples("train", 128, 0, style)
        values = model.logprobs(examples, [example.gold for example in examples])
        figures[f"{style} nats/token"] = float(sum(v.sum() for v in values) / sum(len(v) for v in values))
    return figures


def skill_figures(model: Asked) -> dict[str, float]:
    """Exact match per general skill, their mean, and accuracy by likelihood where there are choices."""
    examples = skills.examples(0)
    right = model.right(examples, "own", 0.0)
    figures = {}
    for task in dict.fromkeys(example.task for example in examples):
        figures[task] = float(np.mean([r for e, r in zip(examples, right, strict=True) if e.task == task]))
    figures["mean"] = float(np.mean(list(figures.values())))
    for task in dict.fromkeys(e.task for e in examples if e.check.get("choices")):
        asked = [e for e in examples if e.task == task]
        flat = [(e, choice) for e in asked for choice in e.check["choices"]]
        sums = iter(float(v.sum()) for v in model.logprobs([e for e, _ in flat], [c for _, c in flat]))
        best = [int(np.argmax([next(sums) for _ in e.check["choices"]])) == e.check["choice"] for e in asked]
        figures[f"{task} by likelihood"] = float(np.mean(best))
    return figures


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=str(pocket_model_folder()))
    parser.add_argument("--count", type=int, default=512)
    arguments = parser.parse_args()
    prepare_jax()
    model = Asked(arguments.model)
    figures = {name: target_figures(model, name, arguments.count) for name in POCKET}
    print(json.dumps(figures | {"general": skill_figures(model)}, indent=1))


if __name__ == "__main__":
    main()
