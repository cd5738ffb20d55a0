"""Where MLflow keeps its records: the store that MLFLOW_TRACKING_URI names, or a file in the current directory."""

from __future__ import annotations

import logging
import os
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

from mmd_ddm.errors import UserError

if TYPE_CHECKING:
    from mlflow import MlflowClient

PATIENCE = 10.0  # seconds that a server may take to answer


def tracking_uri() -> str:
    """Return the store that is used: MLFLOW_TRACKING_URI, or `mlflow.db` in the current directory."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{Path.cwd() / 'mlflow.db'}"


def ui_command() -> str:
    """Return the line that shows the recorded runs in a browser."""
    uri = tracking_uri()
    if uri.startswith(("http://", "https://")):
        return f"open {uri} in a browser"
    return "mlflow ui" if uri == f"sqlite:///{Path.cwd() / 'mlflow.db'}" else f"mlflow ui --backend-store-uri {uri}"


def check_reachable() -> None:
    """Find at once, before anything is started, that no server answers at MLFLOW_TRACKING_URI.

    Raises:
        UserError: Says so.
    """
    _ask(tracking_uri())


def connect(uri: str, experiment: str) -> tuple[MlflowClient, str]:
    """Return the store's client and the experiment's id; the experiment is made if there is none.

    Raises:
        UserError: If the store can't be used.
    """
    client = open_client(uri)
    try:
        found = client.get_experiment_by_name(experiment)
        if found is None:
            return client, client.create_experiment(experiment, artifact_location=_artifact_location(uri))
        if found.lifecycle_stage == "deleted":
            client.restore_experiment(found.experiment_id)
        return client, found.experiment_id
    except Exception as error:  # of MLflow, of its database layer, of the network
        raise unusable(uri, error) from None


def open_client(uri: str) -> MlflowClient:
    """Return the client of a store; a local database is made if there is none.

    Raises:
        UserError: If the store does not answer or can't be used.
    """
    _ask(uri)
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(int(PATIENCE)))
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # its retries; we say what is not sent
    from mlflow import MlflowClient

    try:
        return MlflowClient(tracking_uri=uri)
    except Exception as error:  # of MLflow, of its database layer
        raise unusable(uri, error) from None


def unusable(uri: str, error: Exception) -> UserError:
    """Return what to tell of a store that raised an error."""
    return UserError(f"MLflow's store {uri} can't be used ({first_line(error)}); check MLFLOW_TRACKING_URI.")


def _ask(uri: str) -> None:
    if not uri.startswith(("http://", "https://")):
        return
    try:
        with urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=PATIENCE):
            pass
    except urllib.error.HTTPError:  # somebody answers; MLflow's client will say what is wrong
        pass
    except (OSError, ValueError) as error:
        raise UserError(
            f"No MLflow server answers at {uri} ({_reason(error)}); start it, or unset MLFLOW_TRACKING_URI "
            "to use ./mlflow.db."
        ) from None


def _reason(error: Exception) -> object:
    reason = getattr(error, "reason", error)  # urllib wraps what the system says
    return getattr(reason, "strerror", None) or first_line(error)


def _artifact_location(uri: str) -> str | None:
    """Artifacts beside a local database: MLflow would put them into the current directory, wherever that is."""
    if not uri.startswith("sqlite:///"):
        return None
    return (Path(uri.removeprefix("sqlite:///")).resolve().parent / "mlruns").as_uri()


def first_line(error: BaseException) -> str:
    """Return what an exception says, without its stack of details."""
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:200]
