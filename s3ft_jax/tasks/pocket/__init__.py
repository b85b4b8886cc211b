"""Room: pocket tasks. Three targets and seven general skills, made from a seed, for a model of a million parameters.

The targets are likenesses of the paper's: ``arithmetic`` of GSM8K, ``programs`` of MBPP, ``reading`` of SQuAD 2.0. Each
has gold answers in three distances from the base's own style (near, mid, far). ``skills`` serves only to measure
forgetting. ``pretraining`` and ``tokenizer`` are what the shipped model was made with. Standard library only, except
``tokenizer``.

In: a split, a count, a seed and a gold style. Out: examples. ``draws.home`` decides which question may be used where.
"""

from s3ft_jax.tasks.pocket import arithmetic, programs, reading

POCKET = {"arithmetic": arithmetic, "programs": programs, "reading": reading}
