"""The harness room: general benchmarks through lm-evaluation-harness, its prompts and metrics, our engine and scorer.

In: a model and names of tasks. Out: for every task a ``Outcome`` with its metrics and the value of each of its items.
lm_eval is an extra (``pip install 's3ft_jax[eval]'``), imported only when benchmarks are asked for; torch is not
needed.
"""
