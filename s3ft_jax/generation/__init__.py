"""The generation room: prompt ids in, response ids with their log-probabilities out. No text, no tokenizer, no files.

engine.py runs the decoder over fixed slots, sampling.py chooses tokens, cache.py moves keys and values, slots.py keeps
the host's books.
"""
