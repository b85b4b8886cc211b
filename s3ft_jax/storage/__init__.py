"""Files on this machine and in buckets (``gs://``), so that no room asks which of them it writes to.

``patience`` tries a call again that failed in passing, ``bucket`` is the path of an object, ``files`` publishes a file
whole, fetches what a library wants on this machine, and sends what one has written there. No JAX.
"""

from s3ft_jax.storage.bucket import BucketPath, expect, settle
from s3ft_jax.storage.files import check, fetch, is_remote, local_output, publish
from s3ft_jax.storage.patience import StorageError

__all__ = ["BucketPath", "StorageError", "check", "expect", "fetch", "is_remote", "local_output", "publish", "settle"]
