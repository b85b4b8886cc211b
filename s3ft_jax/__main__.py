"""``python -m s3ft_jax`` is the command ``s3ft``."""

import sys

from s3ft_jax.cli import main

sys.exit(main())
