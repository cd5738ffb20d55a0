"""What a report says first: the winner, how much faster it is, how sure that is, and the front of two objectives."""

from __future__ import annotations

import math

from mmd_ddm.experiment.origins import Origins
from mmd_ddm.experiment.run_folder import MODEL
from mmd_ddm.experiment.scoring.scored_model import BASE, ScoredModel, worst_space
from tune.report.headline import KEPT
from tune.report.pareto import draw_front
from tune.report.render import Table
from tune.report.reproduce import FOLDED, command_line, loading_code, read_weights
from tune.report.summary import StudySummary
from tune.report.verdicts import score_text, sureness
from tune.scoring.ranking import complete, front, percent, probability_better, trial_estimate
from tune.scoring.speedup import budget_rows, faster, times
from tune.study.folder import Trial
from tune.study.format import kept_text, point_text

BEST = "best"
Fact = tuple[str, str]  # a number to be seen first, and what it is
_NEEDED = "the base model needs for the same KID, in every space that was scored"


def winner_values(found: StudySummary, best: Trial) -> dict[str, object]:
    """Return what the template shows of a winner, by name."""
    final, values = found.finals.get(best.number), dict[str, object]()
    folder = found.study.folder
    if found.speedup:
        largest = found.base[-1][0]
        values["faster"] = faster(found.speedup, best.steps, largest)
        head = ("feature space", "NFE of the base model with the same KID", "by the errors")
        values["speed"] = Table(head, budget_rows(found.speedup, largest), ("feature space",))
    return values | {
        "score": f"{best.score:.4g}" if final is None else score_text(final),
        "score_space": _score_space(found, best),
        "fresh": final is not None,
        "kept": kept_text(best),
        "weights": read_weights(best.folder / MODEL),
        "where": f"{BEST}/" if found.standing in KEPT else f"trials/{best.number:03d}/{MODEL}/",
        "facts": [fact for fact in (_speed_fact(found, best), _sure_fact(found, best)) if fact is not None],
        "point": point_text(best.point),
        "command": command_line(
            best.config, f"runs/{found.study.name}-best", FOLDED, Origins.read(found.study.folder).weights
        ),
        "loading": loading_code(folder / BEST if found.standing in KEPT else best.folder / MODEL),
        "sure": sureness(found.trials, found.baseline, found.finals, best.number),
    }


def _score_space(found: StudySummary, best: Trial) -> str:
    """The feature space that the winner's score is of."""
    metrics = next((row.metrics for row in found.rows if row.model and row.model.trial == best.number), None)
    first = ScoredModel(BASE, found.study.settings.first.sampler)
    base = next((row.metrics for row in found.rows if row.model == first), None)
    if metrics is None or base is None:
        metrics, base = best.kept.metrics if best.kept else (), found.baseline
    if not base:
        return ""
    space = worst_space(metrics, base)
    return f"{space}, {'held out' if space in best.held_out else 'trained on'}"


def _speed_fact(found: StudySummary, best: Trial) -> Fact | None:
    """How many times fewer evaluations in every space; None where that is not known, or no larger budget was scored."""
    if not found.speedup or found.base[-1][0] <= best.steps:
        return None
    space, least = next(iter(found.speedup.items()))
    if least.steps <= best.steps:
        return "not faster", f"than the base model, which has the same KID in {space} features with no more evaluations"
    if math.isinf(least.steps):
        return f"over {times(found.base[-1][0], best.steps)}", f"times fewer evaluations than {_NEEDED}"
    return f"about {times(least.steps, best.steps)}", f"times fewer evaluations than {_NEEDED}"


def _sure_fact(found: StudySummary, best: Trial) -> Fact | None:
    """How sure it is that the winner beats the runner-up, on fresh noise if both have scores there."""
    if best.number in found.finals and len(found.finals) > 1:
        other = min((n for n in found.finals if n != best.number), key=lambda n: found.finals[n].mean)
        sure = probability_better(found.finals[best.number], found.finals[other])
    elif len(first_two := complete(found.trials)[:2]) == 2 and found.baseline:
        other = first_two[1].number
        sure = probability_better(*(trial_estimate(trial, found.baseline) for trial in first_two))
    else:
        return None
    return percent(sure), f"probability that it is truly better than trial {other:03d}, errors taken as independent"


def front_rows(found: StudySummary) -> list[tuple[str, ...]]:
    """Draw the Pareto front of a study that searches budgets, and return its rows; none without one."""
    best = front(found.trials)
    if not best or not found.baseline:
        return []
    scores = {trial.number: trial_estimate(trial, found.baseline) for trial in complete(found.trials)}
    draw_front(found.study, found.trials, scores, found.base)
    rows = list[tuple[str, ...]]()
    for trial in best:
        fresh = found.finals.get(trial.number)
        point = point_text({name: value for name, value in trial.point.items() if name != "steps"})
        texts = score_text(scores[trial.number]), score_text(fresh) if fresh else ""
        rows.append((f"{trial.steps}", f"{trial.number:03d}", *texts, point))
    return rows
