"""The error of a measure that cannot be computed here, for example because weights are missing."""

from configs.errors import UserError


class Unavailable(UserError):
    """A measure cannot be computed here. It is reported as missing with the reason; all other results are kept."""

    def again(self) -> "Unavailable":
        """Return a new error with the same reason. A raised one keeps the tensors of its traceback in memory."""
        return Unavailable(*self.args)
