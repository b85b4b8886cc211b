"""The recipe that made the model shipped in s3ft_jax/pocket_model: pretraining from nothing on the pocket suite's mix.

    s3ft pretrain --config=configs/pocket_model.py --workdir=runs/pocket_model

Hardware and time of the shipped model: see benchmarks/RESULTS.md.
"""

from ml_collections import ConfigDict

from configs.defaults import parse_arg


def get_config(arg: str = "") -> ConfigDict:
    """Arguments: ``seed=N``; 0 is the shipped model, others are further models of the same recipe."""
    args = parse_arg(arg, seed=0)
    return ConfigDict(
        {
            "seed": args.seed,  # of the documents, the start values and the order
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
            "num_documents": 400_000,  # generated texts
            "num_steps": 6000,  # optimizer steps
            "learning_rate": 1.5e-3,  # peak
            "warmup_frac": 0.01,
            "flat_frac": 0.4,
            "final_frac": 0.02,
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
