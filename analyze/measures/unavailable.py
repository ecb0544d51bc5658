"""The error of a measure that cannot be computed here, for example because weights are missing."""

from configs.errors import UserError


class Unavailable(UserError):
    """A measure cannot be computed here. It is reported as missing with the reason; all other results are kept."""


class Missing(Unavailable):
    """A measure needs files or packages that are missing here. It is computed by the first rerun that finds them."""
