"""Models by their MLflow address: `runs:/ID`, `runs:/ID/PATH`, `models:/NAME/VERSION`, `models:/NAME@ALIAS`.

An address is resolved once, where a command begins, to a folder: workers do not ask MLflow, and a configuration that
holds the folder means the same model when an alias has moved on. Files that MLflow keeps in a local folder are used
where they lie; others are downloaded once into the cache, under the path that they have in MLflow.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlparse
from urllib.request import url2pathname

from mmd_ddm.errors import UserError
from mmd_ddm.experiment.run_folder import MODEL
from mmd_ddm.experiment.tracking.store import open_client, shown_line, tracking_uri, unusable
from mmd_ddm.files import cache_home, locked

if TYPE_CHECKING:
    from mlflow import MlflowClient

_RUN = re.compile(r"runs:/+(?P<run>[^/]+)(/+(?P<path>[^/].*?))?/*")
_VERSION = re.compile(r"models:/+(?P<name>[^/@]+)(/(?P<version>[^/]+)|@(?P<alias>[^/]+))/*")


def resolve(source: str) -> str:
    """Return the local folder of a model's address in MLflow's store; what is no such address is returned as it is.

    Raises:
        UserError: The store, the run, the version or its files are not there, or the address has another form.
    """
    if not source.startswith(("runs:", "models:")):
        return source
    run, version = _RUN.fullmatch(source), _VERSION.fullmatch(source)
    if not run and not version:
        forms = "runs:/ID, runs:/ID/PATH, models:/NAME/VERSION or models:/NAME@ALIAS"
        raise UserError(f"{source!r} is no address of a model in MLflow; write {forms}")
    store = tracking_uri()
    file = Path(store.removeprefix("sqlite:///"))
    if store.startswith("sqlite:///") and not file.is_file():  # MLflow would make an empty one
        raise UserError(f"there is no MLflow store {file}; go to its folder, or name the store in MLFLOW_TRACKING_URI")
    client = open_client(store)
    try:
        files = _of_run(client, store, **run.groupdict()) if run else ""
        files = _of_version(client, store, **version.groupdict()) if version else files
    except UserError:
        raise
    except Exception as error:  # of MLflow, of its database layer, of the network
        raise unusable(store, error) from None
    return str(_local(files, source, store))


@contextmanager
def _there(what: str, store: str) -> Iterator[None]:
    """Say what is not there where MLflow does."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        raise UserError(
            f"there is no {what} in MLflow's store {store}; name another store in MLFLOW_TRACKING_URI"
        ) from None


def _of_run(client: MlflowClient, store: str, run: str, path: str | None) -> str:
    with _there(f"run {run}", store):
        found = client.get_run(run)
    if path is None:
        path = _only_model(client, run, found.data.tags.get("best_trial"))
    else:
        path = path.rstrip("/")
        above = path.rpartition("/")[0]
        if path not in _paths(client, run, above or None):
            there = ", ".join(_paths(client, run)) or "nothing"
            raise UserError(f"run {run} has no {path} in MLflow's store {store}; it has {there}")
    return f"{found.info.artifact_uri}/{path}"


def _paths(client: MlflowClient, run: str, folder: str | None = None) -> list[str]:
    return [each.path for each in client.list_artifacts(run, folder)]


def _only_model(client: MlflowClient, run: str, best_trial: str | None) -> str:
    folders = [each.path for each in client.list_artifacts(run) if each.is_dir]
    models = [each for each in folders if f"{each}/model_index.json" in _paths(client, run, each)]
    if MODEL in models or len(models) == 1:
        return MODEL if MODEL in models else models[0]
    if models:
        raise UserError(f"run {run} holds {', '.join(models)}; add one to the address, as in runs:/{run}/{models[0]}")
    study = f"; it is a study, name the run of its trial {best_trial}" if best_trial else ""
    raise UserError(f"run {run} holds no model{study or ': it was not completed, or did not store one'}")


def _of_version(client: MlflowClient, store: str, name: str, version: str | None, alias: str | None) -> str:
    what = f"version {version}" if alias is None else f"alias {alias}"
    with _there(f"{what} of a registered model {name}", store):
        if alias is not None:
            version = client.get_model_version_by_alias(name, alias).version
        files: str = client.get_model_version_download_uri(name, str(version))
    run = _RUN.fullmatch(files)  # registered by its run's address
    return files if run is None else _of_run(client, store, **run.groupdict())


def _local(files: str, source: str, store: str) -> Path:
    parsed = urlparse(files)
    if parsed.scheme in ("", "file"):
        folder = Path(url2pathname(parsed.path))
        if folder.exists():
            return folder
        raise UserError(f"the files of {source} are not on this machine: MLflow's store {store} has them in {folder}")
    parts = [re.sub(r"[^\w.-]", "-", part) for part in (parsed.scheme, parsed.netloc, *parsed.path.split("/"))]
    target = cache_home().joinpath("mlflow", *(part for part in parts if part.strip(".")))
    with locked(target.with_name(f".{target.name}.lock")):
        if not target.exists():
            _download(files, target, source, store)
    return target


def _download(files: str, target: Path, source: str, store: str) -> None:
    from mlflow.artifacts import download_artifacts

    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".download-") as half:
        try:
            got = Path(download_artifacts(artifact_uri=files, dst_path=half, tracking_uri=store))
        except Exception as error:  # of the network, of the artifact store, of the disk
            raise UserError(f"the files of {source} can't be had from {files}: {shown_line(error)}") from None
        if not any(Path(half).rglob("*")):
            raise UserError(f"the files of {source} are not there: MLflow's store {store} has nothing at {files}")
        got.rename(target)
