"""The ways in which a run ends early: on purpose, or because the machine has not enough."""


class UserError(ValueError):
    """Wrong input: one sentence that says what is wrong and what to do; front ends print it and exit with status 2."""


class ResourceError(RuntimeError):
    """The machine ran out of something while it worked: one sentence with the setting to change."""


class DivergenceError(RuntimeError):
    """The loss or its gradient stopped being finite; the last good checkpoint is kept."""
