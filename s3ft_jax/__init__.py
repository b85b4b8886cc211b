"""s3ft_jax: fine-tune a language model on a task without making it forget everything else."""

__version__ = "0.1.0"
