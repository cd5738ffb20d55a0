"""Models by their MLflow address: `runs:/ID`, `runs:/ID/PATH`, `models:/NAME/VERSION`, `models:/NAME@ALIAS`.

An address is resolved once, where a command begins, to a folder: workers do not ask MLflow, and a configuration that
holds the folder means the same model when an alias has moved on. Files that MLflow keeps in a local folder are used
where they lie; others are downloaded once into the cache, under the path that they have in MLflow.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlparse
from urllib.request import url2pathname

from mmd_ddm.errors import UserError
from mmd_ddm.experiment.run_folder import MODEL
from mmd_ddm.experiment.tracking.store import first_line, open_client, tracking_uri, unusable
from mmd_ddm.files import cache_home, locked

if TYPE_CHECKING:
    from mlflow import MlflowClient

_RUN = re.compile(r"runs:/+(?P<run>[^/]+)(/+(?P<path>[^/].*?))?/*")
_VERSION = re.compile(r"models:/+(?P<name>[^/@]+)(/(?P<version>[^/]+)|@(?P<alias>[^/]+))/*")
_INDEX = "model_index.json"


def resolve(source: str) -> str:
    """Return a model's local folder for its MLflow address; what is no such address is returned as it is.

    Args:
        source: As `pretrained.load.locate` takes it, or an address in the store that MLFLOW_TRACKING_URI names, else in
            ./mlflow.db.

    Raises:
        UserError: The store, the run, the version or its files are not there, or the address has another form.
    """
    if not source.startswith(("runs:", "models:")):
        return source
    run, version = _RUN.fullmatch(source), _VERSION.fullmatch(source)
    if not run and not version:
        raise UserError(
            f"{source!r} is no address of a model in MLflow; write runs:/ID, runs:/ID/PATH, models:/NAME/VERSION or "
            "models:/NAME@ALIAS"
        )
    store = tracking_uri()
    _check_there(store)
    client = open_client(store)
    try:
        if run:
            files = _of_run(client, store, run["run"], run["path"])
        else:
            assert version is not None
            files = _of_version(client, store, version["name"], version["version"], version["alias"])
    except UserError:
        raise
    except Exception as error:  # of MLflow, of its database layer, of the network
        raise unusable(store, error) from None
    return str(_local(files, source, store))


def _check_there(store: str) -> None:
    file = Path(store.removeprefix("sqlite:///"))
    if store.startswith("sqlite:///") and not file.is_file():  # MLflow would make an empty one
        raise UserError(f"there is no MLflow store {file}; go to its folder, or name the store in MLFLOW_TRACKING_URI")


def _of_run(client: MlflowClient, store: str, run_id: str, path: str | None) -> str:
    from mlflow.exceptions import MlflowException

    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        raise UserError(
            f"there is no run {run_id} in MLflow's store {store}; name another store in MLFLOW_TRACKING_URI"
        ) from None
    if path is None:
        path = _only_model(client, run_id)
    else:
        path = path.rstrip("/")
        above = path.rpartition("/")[0]
        if path not in [each.path for each in client.list_artifacts(run_id, above or None)]:
            there = _listed(each.path for each in client.list_artifacts(run_id))
            raise UserError(f"run {run_id} has no {path} in MLflow's store {store}; it has {there}")
    return f"{run.info.artifact_uri}/{path}"


def _only_model(client: MlflowClient, run_id: str) -> str:
    folders = [each.path for each in client.list_artifacts(run_id) if each.is_dir]
    models = [each for each in folders if _has_index(client, run_id, each)]
    if MODEL in models or len(models) == 1:
        return MODEL if MODEL in models else models[0]
    if models:
        raise UserError(
            f"run {run_id} holds {_listed(models)}; add one to the address, as in runs:/{run_id}/{models[0]}"
        )
    best = client.get_run(run_id).data.tags.get("best_trial")
    hint = "" if best is None else f"; it is a study, name the run of its trial {best}"
    raise UserError(f"run {run_id} holds no model{hint or ': it was not completed, or did not store one'}")


def _has_index(client: MlflowClient, run_id: str, folder: str) -> bool:
    return any(each.path == f"{folder}/{_INDEX}" for each in client.list_artifacts(run_id, folder))


def _of_version(client: MlflowClient, store: str, name: str, version: str | None, alias: str | None) -> str:
    from mlflow.exceptions import MlflowException

    try:
        if alias is not None:
            version = client.get_model_version_by_alias(name, alias).version
        files: str = client.get_model_version_download_uri(name, str(version))
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        what = f"version {version}" if alias is None else f"alias {alias}"
        raise UserError(
            f"there is no {what} of a registered model {name} in MLflow's store {store}; name another store in "
            "MLFLOW_TRACKING_URI"
        ) from None
    run = _RUN.fullmatch(files)  # registered by its run's address
    return files if run is None else _of_run(client, store, run["run"], run["path"])


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "nothing"


def _local(files: str, source: str, store: str) -> Path:
    parsed = urlparse(files)
    if parsed.scheme in ("", "file"):
        folder = Path(url2pathname(parsed.path))
        if not folder.exists():
            raise UserError(
                f"the files of {source} are not on this machine: MLflow's store {store} has them in {folder}"
            )
        return folder
    parts = [re.sub(r"[^\w.-]", "-", part) for part in (parsed.scheme, parsed.netloc, *parsed.path.split("/"))]
    target = cache_home().joinpath("mlflow", *(part for part in parts if part.strip(".")))
    with locked(target.with_name(f".{target.name}.lock")):
        if not target.exists():
            _download(files, target, source, store)
    return target


def _download(files: str, target: Path, source: str, store: str) -> None:
    from mlflow.artifacts import download_artifacts

    try:
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".download-") as half:
            got = Path(download_artifacts(artifact_uri=files, dst_path=half, tracking_uri=store))
            if not any(Path(half).rglob("*")):
                raise UserError(f"the files of {source} are not there: MLflow's store {store} has nothing at {files}")
            got.rename(target)
    except UserError:
        raise
    except Exception as error:  # of the network, of the artifact store, of the disk
        raise UserError(f"the files of {source} can't be had from {files}: {first_line(error)}") from None
