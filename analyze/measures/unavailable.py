"""What a measure says that lacks something on this machine."""

from configs.errors import UserError


class Unavailable(UserError):
    """A measure that cannot be computed here: reported as missing with the reason, all else goes on."""
