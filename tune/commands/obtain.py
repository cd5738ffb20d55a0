"""What studies need before Ray is started: answers of MLflow and Ray, images, base models and feature spaces."""

from __future__ import annotations

from collections.abc import Iterable

from mmd_ddm.experiment.build import Parts
from mmd_ddm.experiment.config import Config
from mmd_ddm.experiment.distributed.cluster import check_address
from mmd_ddm.experiment.obtain import obtain
from mmd_ddm.experiment.origins import Origins
from mmd_ddm.experiment.tracking.store import check_reachable


def obtain_all(configs: Iterable[Config], former: Origins, what: str) -> Origins:
    """Download and prepare what runs need, and return what they are made of.

    Args:
        configs: Of the runs.
        former: With what the study was begun, if it goes on.
        what: The study, in words.

    Raises:
        UserError: MLflow or Ray can't be reached, something can't be had, or it has changed since.
    """
    check_reachable()
    check_address()
    origins = Origins()
    for config in configs:
        obtain(config)
        origins = Origins.of(Parts(config)).beside(origins)
    origins.check(former, what)
    return origins
