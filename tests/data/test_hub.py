from pathlib import Path
from typing import Any

import pytest

from mmd_ddm.data.readers.hub import HubImages
from mmd_ddm.data.readers.open import open_source
from tests.data.reading import refused
from tests.data.sources import (
    pictures,
    png,
    write_parquet,
)

# the hub


@pytest.mark.parametrize(
    "spec", ["hub:x", "hub:a/b:c.parquet", "hub:a/b@main", "hub:a/b@main:c.png", "hub:b@m:c.parquet"]
)
def test_specs_of_another_form(spec: str) -> None:
    refused(spec, r"write hub:OWNER/NAME@REVISION")


def test_hub_downloads_what_is_asked_for_and_not_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Any, Any]] = []

    def download(*args: Any, **kwargs: Any) -> str:
        asked.append((args, kwargs))
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    write_parquet(tmp_path / "a" / "x.parquet", [png(each) for each in pictures(3)])
    source = open_source("hub:some-one/im.ages@v1.0:a/*.parquet")
    assert source.identity
    assert not asked
    assert len(source) == 3
    list(source.read(0, 3))
    wanted = {"repo_type": "dataset", "revision": "v1.0", "allow_patterns": ["a/*.parquet"]}
    assert asked == [(("some-one/im.ages",), wanted)]
    refused("hub:some-one/im.ages@v1.0:b/*.parquet", r"has no file b/\*\.parquet")


def test_hub_without_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub.errors import LocalEntryNotFoundError

    def download(*_: Any, **__: Any) -> str:
        raise LocalEntryNotFoundError("offline")

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    assert isinstance(open_source("hub:a/b@main:c.parquet"), HubImages)
    refused("hub:a/b@main:c.parquet", r"cannot be downloaded.*--data PATH")
