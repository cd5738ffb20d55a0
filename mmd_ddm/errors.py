"""The two ways in which a run ends early on purpose."""


class UserError(ValueError):
    """Wrong input: one sentence that says what is wrong and what to do; front ends print it and exit with status 2."""


class DivergenceError(RuntimeError):
    """The loss or its gradient stopped being finite; the last good checkpoint is kept."""
