"""Files on this machine and in buckets (``gs://``), so that no room asks which of them it writes to.

``patience`` tries a call again that failed in passing, ``bucket`` is the path of an object, ``files`` publishes a file
whole, fetches what a library wants on this machine and sends what one has written there, ``lock`` keeps two commands
apart, in a bucket by a ``lease``. No JAX.
"""

from s3ft_jax.storage.bucket import BucketPath, expect, settle
from s3ft_jax.storage.files import (
    check,
    copy_folder,
    digest_of,
    fetch,
    files_below,
    is_remote,
    local_output,
    look_again,
    look_below,
    matching,
    publish,
)
from s3ft_jax.storage.lease import Locked
from s3ft_jax.storage.lock import claim
from s3ft_jax.storage.patience import StorageError

__all__ = [
    "BucketPath",
    "Locked",
    "StorageError",
    "check",
    "claim",
    "copy_folder",
    "digest_of",
    "expect",
    "fetch",
    "files_below",
    "is_remote",
    "local_output",
    "look_again",
    "look_below",
    "matching",
    "publish",
    "settle",
]
