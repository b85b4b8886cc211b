"""An outside engine: asks -> responses of a server that speaks OpenAI's completions (vLLM, SGLang, llama.cpp).

In: asks, whose prompts are token ids, and an endpoint. Out: the same ``Response`` records as our own engine's, and in
words what the server could not give. ``server.py`` asks, ``completions.py`` reads what is replied, ``offer.py`` finds
out what can be had, ``engine.py`` makes responses of it. No device is opened: the server may have it.
"""

from s3ft_jax.outside.engine import OutsideEngine
from s3ft_jax.outside.offer import Offer
from s3ft_jax.outside.server import OutsideError, Server

__all__ = ["Offer", "OutsideEngine", "OutsideError", "Server"]
