"""The likelihoods of the report room: how likely texts are under the base, as means and as the bars that are drawn.

In: origin -> (sum of log-probability in nats, tokens) of each text. Out: bins and counts, and values for report.json.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from s3ft_jax.records import ORIGINS

BINS = 36
PER_TOKEN, PER_TEXT = "nats per token", "nats per text"

Pairs = Mapping[str, Sequence[tuple[float, int]]]
"""origin -> (sum of log-probability under the base in nats, tokens) of each text."""


def series(logprobs: Pairs) -> dict[str, dict[str, np.ndarray]]:
    """``nats per token`` and ``nats per text`` -> origin -> one number per text, of origins that have texts."""
    there = {origin: np.array(pairs, float) for origin in ORIGINS if (pairs := logprobs.get(origin))}
    return {
        PER_TOKEN: {origin: array[:, 0] / array[:, 1] for origin, array in there.items()},
        PER_TEXT: {origin: array[:, 0] for origin, array in there.items()},
    }


def bars(values: Mapping[str, np.ndarray]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Edges of the bins, from the one text in 200 that is least likely up to 0, and how many texts lie in each.

    What lies below the first edge is counted in the first bin, so that the counts of an origin add up to its texts.
    """
    low = float(np.quantile(np.concatenate(list(values.values())), 0.005))
    edges = np.linspace(min(low, -1e-3), 0.0, BINS + 1)
    return edges, {name: np.histogram(np.clip(one, edges[0], 0.0), bins=edges)[0] for name, one in values.items()}


def likelihood_values(logprobs: Pairs) -> dict[str, Any]:
    """For report.json: ``origins``, a line for each of the table, and ``histograms``, what is drawn."""
    found = series(logprobs)
    origins = []
    for origin, sums in found[PER_TEXT].items():
        tokens = sum(pair[1] for pair in logprobs[origin])
        numbers = {"nats_per_token": sums.sum() / tokens, "nats_per_text": sums.mean(), "median": np.median(sums)}
        origins.append({"origin": origin, "texts": len(sums), **numbers, "tokens_per_text": tokens / len(sums)})
    histograms = []
    for what, values in found.items() if origins else ():
        edges, counts = bars(values)
        told = {origin: count.tolist() for origin, count in counts.items()}
        histograms.append({"of": what, "edges": edges.tolist(), "texts": told})
    return {"origins": origins, "histograms": histograms}
