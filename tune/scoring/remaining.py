"""How far the final scores are, said after each and at least every half minute."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from mmd_ddm.experiment.distributed.background import beside
from mmd_ddm.experiment.scoring.scored_model import ScoredModel
from tune.study.console import QUIET
from tune.study.format import duration


class Remaining:
    """What is left of some scores: models take as long as they have network evaluations, real images none.

    Args:
        say: Tells the user something.
        models: That will be scored.
    """

    def __init__(self, say: Callable[[str], None], models: Sequence[ScoredModel | None]) -> None:
        self._say, self._began = say, time.monotonic()
        self._all, self._done, self._left = sum(map(_cost, models)), 0, len(models)
        self._spoke = threading.Event()

    @contextmanager
    def telling(self) -> Iterator[None]:
        """Say, within the block, what is left whenever there was no word for a while."""
        with beside(self._tell):
            yield

    def _tell(self, done: threading.Event) -> None:
        while not done.wait(QUIET):
            if not self._spoke.is_set():
                self._say(f"{self._left} scores are left{self._estimate()}")
            self._spoke.clear()

    def ended(self, model: ScoredModel | None, text: str) -> None:
        """A model is scored, or can't be: say that, and how long the others will take."""
        self._done, self._left = self._done + _cost(model), self._left - 1
        self._spoke.set()
        self._say(f"{text}{self._estimate()}" if self._left else text)

    def _estimate(self) -> str:
        if not self._done:
            return ""
        seconds = (time.monotonic() - self._began) * (self._all - self._done) / self._done
        return f"; about {duration(seconds)} left"


def _cost(model: ScoredModel | None) -> int:
    return 0 if model is None else model.sampler.steps
