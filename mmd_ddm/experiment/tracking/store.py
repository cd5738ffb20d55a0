"""Where MLflow keeps its records: the store that MLFLOW_TRACKING_URI names, or a file in the current directory."""

from __future__ import annotations

import logging
import os
import re
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

from mmd_ddm.errors import UserError, first_line
from mmd_ddm.files import cache_home, digest_of, locked

if TYPE_CHECKING:
    from mlflow import MlflowClient

PATIENCE = 10  # seconds that a server may take to answer
_ENVIRONMENT = {"HTTP_REQUEST_MAX_RETRIES": "1", "HTTP_REQUEST_TIMEOUT": str(PATIENCE), "DISABLE_TELEMETRY": "true",
                "SUPPRESS_PRINTING_URL_TO_STDOUT": "true"}  # fmt: skip


def tracking_uri() -> str:
    """Return the store that is used: MLFLOW_TRACKING_URI, or `mlflow.db` in the current directory."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{Path.cwd() / 'mlflow.db'}"


def shown(uri: str) -> str:
    """Return a store's address as it may be written anywhere: without a password."""
    return re.sub(r"(://[^/@:]*:)[^/]*@", r"\1***@", uri)


def ui_command() -> str:
    """Return the line that shows the recorded runs in a browser."""
    uri = shown(tracking_uri())
    if uri.startswith(("http://", "https://")):
        return f"open {uri} in a browser"
    return "mlflow ui" if uri == f"sqlite:///{Path.cwd() / 'mlflow.db'}" else f"mlflow ui --backend-store-uri {uri}"


def check_reachable() -> None:
    """Raise a UserError at once, before anything is started, if no server answers at MLFLOW_TRACKING_URI."""
    _ask(tracking_uri())


def connect(uri: str, experiment: str) -> tuple[MlflowClient, str]:
    """Return the client of a store, or refuse one that can't be used, and the id of an experiment, new or not."""
    # MLflow makes its tables, and looks whether there is an experiment and then makes it, without a lock
    with locked(cache_home() / "locks" / f"{digest_of(uri)}.lock"):
        return _connect(uri, experiment)


def _connect(uri: str, experiment: str) -> tuple[MlflowClient, str]:
    client = open_client(uri)
    try:
        found = client.get_experiment_by_name(experiment)
        if found is None:
            # beside a local database: MLflow would put artifacts into the current directory, wherever that is
            beside = Path(uri.removeprefix("sqlite:///")).resolve().parent / "mlruns"
            place = beside.as_uri() if uri.startswith("sqlite:///") else None
            return client, client.create_experiment(experiment, artifact_location=place)
        if found.lifecycle_stage == "deleted":
            client.restore_experiment(found.experiment_id)
        return client, found.experiment_id
    except Exception as error:  # of MLflow, of its database layer, of the network
        raise unusable(uri, error) from None


def open_client(uri: str) -> MlflowClient:
    """Return the client of a store, or refuse one that can't be used; a local database is made if there is none."""
    _ask(uri)
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(f"MLFLOW_{name}", value)
    for noisy in ("mlflow.store.db.utils", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # its retries; we say what is not sent
    from mlflow import MlflowClient

    try:
        return MlflowClient(tracking_uri=uri)
    except Exception as error:  # of MLflow, of its database layer
        raise unusable(uri, error) from None


def unusable(uri: str, error: Exception) -> UserError:
    """Return what to tell of a store that raised an error."""
    return UserError(f"MLflow's store {shown(uri)} can't be used ({shown_line(error)}); check MLFLOW_TRACKING_URI.")


def _ask(uri: str) -> None:
    if ":" not in uri and uri != "databricks" and not uri.startswith(("/", ".", "~")) and not Path(uri).is_dir():
        known = "write http://HOST:PORT, sqlite:///FILE or a folder's path, or unset it to use ./mlflow.db"
        raise UserError(f"MLFLOW_TRACKING_URI is {uri!r}, which is no address of a store; {known}")
    if not uri.startswith(("http://", "https://")):
        return
    try:
        with urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=PATIENCE):
            pass
    except urllib.error.HTTPError:  # somebody answers; MLflow's client will say what is wrong
        pass
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)  # urllib wraps what the system says
        reason = getattr(reason, "strerror", None) or shown_line(error)
        advice = "start it, or unset MLFLOW_TRACKING_URI to use ./mlflow.db"
        raise UserError(f"No MLflow server answers at {shown(uri)} ({reason}); {advice}.") from None


def shown_line(error: BaseException) -> str:
    """Return the beginning of what an exception says, without its stack of details and without passwords."""
    return shown(first_line(error)[:200])
