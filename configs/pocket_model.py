"""The recipe that made the model shipped in s3ft_jax/pocket_model: pretraining from nothing on the pocket suite's mix.

    s3ft pretrain --config=configs/pocket_model.py --workdir=runs/pocket_model

Hardware and time of the shipped model: see benchmarks/RESULTS.md.
"""

from ml_collections import ConfigDict

from configs.defaults import parse_arg


def get_config(arg: str = "") -> ConfigDict:
    """No arguments."""
    parse_arg(arg)
    return ConfigDict(
        {
            "seed": 0,  # of the documents, the start values and the order
            "vocab_size": 1024,  # byte-level BPE
            "decoder": {
                "num_layers": 5,
                "model_dim": 128,
                "mlp_dim": 352,
                "num_heads": 4,
                "num_kv_heads": 4,
                "head_dim": 32,
                "max_positions": 512,
                "rope_theta": 10000.0,
            },
            # Three phases, the first two stopped before the end of their schedules. After the first, what is learnt
            # late (sums, lookup, copying letters) was weak, and the second mix gives it more room; after that reading
            # and mmlu were still at chance, and the third adds the steps they are made of.
            "order": ("first", "later", "last"),
            "phases": {
                "first": phase(num_documents=320_000, num_steps=4000, schedule_steps=5600, learning_rate=3e-3),
                "later": phase(num_documents=320_000, num_steps=3000, schedule_steps=5000, learning_rate=2.5e-3),
                "last": phase(num_documents=320_000, num_steps=4200, schedule_steps=4200, learning_rate=2.5e-3),
            },
            "rows_per_step": 16,  # packed rows
            "max_length": 192,  # tokens of a row
            "b1": 0.9,
            "b2": 0.98,
            "eps": 1e-8,
            "weight_decay": 0.05,
            "clip_norm": 1.0,
            "save_every": 500,  # steps
        }
    )


def phase(num_documents: int, num_steps: int, schedule_steps: int, learning_rate: float) -> dict:
    """One phase: its name is the mix of documents (s3ft_jax/tasks/pocket/pretraining.py, MIXES)."""
    return {
        "num_documents": num_documents,  # generated texts; gone through about once
        "num_steps": num_steps,  # optimizer steps
        "schedule_steps": schedule_steps,  # steps the learning rate's schedule is made for
        "learning_rate": learning_rate,  # peak
        "warmup_frac": 0.01,
        "flat_frac": 0.4,
        "final_frac": 0.02,
    }
