"""Which measures there are beside KID and FID, and all of them from features."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from torch import Tensor

from mmd_ddm.errors import UserError
from mmd_ddm.evaluation.measures.fid import fit, frechet_distance
from mmd_ddm.evaluation.measures.inception_score import inception_score
from mmd_ddm.evaluation.measures.kid import kid
from mmd_ddm.evaluation.measures.neighbours import closeness, nearest
from mmd_ddm.evaluation.measures.precision_recall import precision_recall
from mmd_ddm.evaluation.reference import RealSide

MEASURES = ("kid", "fid", "precision_recall", "closeness", "is", "sfid")
LOGITS, SPATIAL = "inception_logits", "inception_spatial"
OWN_SPACE = {"is": LOGITS, "sfid": SPATIAL}  # measures that belong to one layer of one network
Scores = dict[str, float]


def parse_measures(text: str) -> tuple[str, ...]:
    """Read names joined by commas.

    Raises:
        UserError: an unknown name.
    """
    names = tuple(dict.fromkeys(text.split(",")))
    for name in names:
        if name not in MEASURES:
            raise UserError(f"measure {name!r} is not known; choose from {', '.join(MEASURES)}")
    return names


def spaces_of(measures: Collection[str]) -> tuple[str, ...]:
    """Feature spaces that measures need for themselves."""
    return tuple(space for measure, space in OWN_SPACE.items() if measure in measures)


def measure(features: Mapping[str, Tensor], real: Mapping[str, RealSide], measures: Collection[str]) -> Scores:
    """Compute measures of N generated images.

    Args:
        features: (N, D) by feature space; those of `spaces_of` serve their measure alone.
        real: the real images in each space.
        measures: of `MEASURES`.

    Returns:
        In each other space s: `kid_s`, `kid_s_stderr`, `fid_s_N`, `precision_s`, `recall_s`, `closeness_s` (the
        probability that a generated image is nearer to its nearest real one than a real one to its own, 0.5 without
        memorisation) and `closeness_s_stderr`; once: `is`, `is_deviation`, `sfid_N`.
    """
    scores: Scores = {}
    for name, found in features.items():
        if name in spaces_of(measures):
            continue
        for wanted in measures:
            if wanted in _IN_EACH_SPACE:
                scores.update(_IN_EACH_SPACE[wanted](name, found, real[name]))
    if "is" in measures:
        result = inception_score(features[LOGITS])
        scores |= {"is": result.mean, "is_deviation": result.deviation}
    if "sfid" in measures:
        found = features[SPATIAL]
        scores[f"sfid_{len(found)}"] = frechet_distance(fit(found), real[SPATIAL].gaussian)
    return scores


def _kid(name: str, features: Tensor, real: RealSide) -> Scores:
    found = kid(features, real.features, real.moments)
    return {f"kid_{name}": found.mmd2, f"kid_{name}_stderr": found.standard_error}


def _fid(name: str, features: Tensor, real: RealSide) -> Scores:
    return {f"fid_{name}_{len(features)}": frechet_distance(fit(features), real.gaussian)}


def _precision_recall(name: str, features: Tensor, real: RealSide) -> Scores:
    found = precision_recall(features, real.features)
    return {f"precision_{name}": found.precision, f"recall_{name}": found.recall}


def _closeness(name: str, features: Tensor, real: RealSide) -> Scores:
    generated = nearest(features, real.features).distances[:, 0]
    found = closeness(generated, real.own_distances)
    return {f"closeness_{name}": found.probability, f"closeness_{name}_stderr": found.standard_error}


_IN_EACH_SPACE: Mapping[str, Callable[[str, Tensor, RealSide], Scores]] = {
    "kid": _kid,
    "fid": _fid,
    "precision_recall": _precision_recall,
    "closeness": _closeness,
}
