"""A study's folder on a cluster: looked at from every node that could run a trial, before there is a trial."""

from __future__ import annotations

from pathlib import Path

from mmd_ddm.experiment.distributed.shared_storage import check_storage
from mmd_ddm.experiment.origins import Origins
from tune.study.folder import Study
from tune.study.needed import needed_files
from tune.study.settings import SearchSettings, Settings


def begin_search(
    folder: Path, settings: SearchSettings, origins: Origins, *, named: bool = True
) -> Study[SearchSettings]:
    """Begin a search in a folder that all nodes share; UserError if they don't, or `named` and there is one already."""
    check_shared(folder, settings)
    study = Study.create(folder, settings, named=named)
    origins.write(study.folder)
    return study


def continue_search(study: Study[SearchSettings], settings: SearchSettings, origins: Origins) -> Study[SearchSettings]:
    """Go on with a search, with settings that may have changed, whose folder all nodes share; UserError if they don't.

    Both write down what the study is made of.
    """
    check_shared(study.folder, settings)
    origins.write(study.folder)
    return study.changed(settings)


def check_shared(folder: Path, settings: Settings) -> None:
    """Refuse a folder that the nodes don't share, and nodes that lack what was named or prepared on this machine.

    Raises:
        UserError: Says which node, and what to do.
    """
    check_storage(folder, settings.machines.process, list(needed_files(settings.config)))
