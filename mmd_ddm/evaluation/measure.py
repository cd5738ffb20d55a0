"""All measures from the features of generated images."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from torch import Tensor

from mmd_ddm.discrepancy.gaussian import fit
from mmd_ddm.evaluation.measures.fid import frechet_distance
from mmd_ddm.evaluation.measures.inception_score import inception_score
from mmd_ddm.evaluation.measures.kid import kid
from mmd_ddm.evaluation.measures.neighbours import nearest, neighbour_auc
from mmd_ddm.evaluation.measures.precision_recall import precision_recall
from mmd_ddm.evaluation.metrics import Metric, Metrics
from mmd_ddm.evaluation.names import LOGITS, SPATIAL, spaces_of
from mmd_ddm.evaluation.reference import RealSide


def measure(features: Mapping[str, Tensor], real: Mapping[str, RealSide], measures: Collection[str]) -> Metrics:
    """Compute some of `MEASURES` of N generated images from their features (N, D) in each space.

    In each space those asked for of KID, FID, precision and recall, and `nn_auc`: the probability that a generated
    image is nearer to its nearest real one than a real one to its own, 0.5 without memorisation. Then, once, the
    Inception Score and sFID, whose spaces (`spaces_of`) serve them alone.
    """
    found: list[Metric] = []
    for name, each in features.items():
        if name not in spaces_of(measures):
            for wanted in measures:
                found += _in_space(wanted, name, each, real[name])
    if "is" in measures:
        score = inception_score(features[LOGITS])
        found.append(Metric("is", score.mean, deviation=score.deviation))
    if "sfid" in measures:
        spatial = features[SPATIAL]
        found.append(Metric("sfid", frechet_distance(fit(spatial), real[SPATIAL].gaussian), images=len(spatial)))
    return tuple(found)


def _in_space(measure: str, space: str, features: Tensor, real: RealSide) -> Metrics:
    if measure == "kid":
        value, error = kid(features, real.features, real.moments)
        return (Metric("kid", value, space, stderr=error),)
    if measure == "fid":
        return (Metric("fid", frechet_distance(fit(features), real.gaussian), space, images=len(features)),)
    if measure == "precision_recall":
        precision, recall = precision_recall(features, real.features)
        return Metric("precision", precision, space), Metric("recall", recall, space)
    if measure == "nn_auc":
        auc = neighbour_auc(nearest(features, real.features).distances[:, 0], real.own_distances)
        return (Metric("nn_auc", auc.auc, space, stderr=auc.standard_error),)
    return ()
