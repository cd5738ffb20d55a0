"""What a run or a study is made of beside its settings, which name it by paths alone.

Its folder holds them in `origins.json`: fingerprints of the images, the base model and the weights of feature spaces,
the folder that the latter were found in, and the number of threads. A fingerprint is the beginning of a SHA-256 of the
content.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from mmd_ddm.errors import UserError
from mmd_ddm.features.published.weights import FOLDER, weights_folder
from mmd_ddm.files import sha256_of, write_json
from mmd_ddm.records import Record, changes, read_record

if TYPE_CHECKING:
    from mmd_ddm.experiment.build import Parts

ORIGINS = "origins.json"
_DIGITS = 16


@dataclass(frozen=True)
class Origins:
    """What is known of them.

    Args:
        fingerprints: By what they are of, as in "images", "base model" and "weights of classifier".
        weights: The folder of weights of feature spaces; None: none was named.
        threads: On which the order of sums depends, and so the last digits.
    """

    fingerprints: Mapping[str, str] = field(default_factory=dict)
    weights: str | None = None
    threads: int | None = None

    @classmethod
    def of(cls, parts: Parts) -> Origins:
        """Look at what the parts of a run are made of."""
        import torch

        from mmd_ddm.experiment.inputs import scored_spaces
        from mmd_ddm.features.registry import weights_of
        from mmd_ddm.pretrained.fingerprint import model_fingerprint

        config, named = parts.config, weights_folder()
        found = {"images": parts.images.fingerprint, "base model": model_fingerprint(parts.folder)}
        for name in dict.fromkeys((*config.objective.spaces, *scored_spaces(config))):
            if (file := weights_of(name, config.dataset).file) is not None:
                found[f"weights of {name}"] = sha256_of(file)
        shortened = {what: digest[:_DIGITS] for what, digest in found.items()}
        return cls(shortened, str(named.absolute()) if named else None, torch.get_num_threads())

    @classmethod
    def from_record(cls, record: Record) -> Origins:
        """Read what `as_record` gave, if there is an entry of it."""
        if "origins" not in record:
            return cls()
        own = record.record("origins")
        found = own.record("fingerprints")
        weights = own.text("weights") if "weights" in own else None
        threads = own.whole("threads", 1) if "threads" in own else None
        return cls({what: found.text(what) for what in found}, weights, threads)

    @classmethod
    def read(cls, folder: Path) -> Origins:
        """Read what a folder knows; nothing if an earlier version began it."""
        file = folder / ORIGINS
        return cls.from_record(read_record(file, "put it back, or begin anew")) if file.exists() else cls()

    def as_record(self) -> dict[str, object]:
        """Return an entry of a JSON file."""
        return {"origins": asdict(self)}

    def write(self, folder: Path) -> None:
        """Write them down in a folder."""
        write_json(folder / ORIGINS, self.as_record())

    def check(self, former: Origins, what: str) -> None:
        """Refuse to go on with what was begun with others; what only one of both knows is not compared.

        Args:
            former: With which it was begun.
            what: What is to go on, in words.

        Raises:
            UserError: Says what has changed.
        """
        both = former.fingerprints.keys() & self.fingerprints.keys()
        then, now = ({key: each.fingerprints[key] for key in both} for each in (former, self))
        if told := changes(then, now):
            raise UserError(
                f"{what} was begun with other content: the fingerprint of {told}; put it back as it was, or begin anew "
                "in another folder"
            )

    def beside(self, others: Origins) -> Origins:
        """Return these and what else was found for another part of the same study."""
        return Origins({**others.fingerprints, **self.fingerprints}, self.weights, self.threads)

    def use_weights(self) -> None:
        """Let this process and all that it starts look for weights where they were, if that is there."""
        if self.weights is not None and Path(self.weights).is_dir():
            os.environ[FOLDER] = self.weights
