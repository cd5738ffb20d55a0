"""What a report says first: the winner, how much faster it is, how sure that is, and the front of two objectives."""

from __future__ import annotations

import math

from tune.report.pareto import draw_front
from tune.report.render import Table
from tune.report.reproduce import FOLDED, command_line, loading_code
from tune.report.summary import StudySummary
from tune.report.verdicts import score_text, sureness
from tune.scoring.ranking import complete, front, percent, probability_better, trial_estimate
from tune.scoring.speedup import faster
from tune.study.folder import Trial
from tune.study.format import point_text

BEST = "best"
Fact = tuple[str, str]  # a number to be seen first, and what it is


def winner_values(found: StudySummary, best: Trial) -> dict[str, object]:
    """Return what the template shows of a winner, by name."""
    final, values = found.finals.get(best.number), dict[str, object]()
    if final is not None and found.speedup is not None:
        rows = [(str(steps), score_text(each)) for steps, each in found.base]
        values["faster"] = faster(found.speedup, best.steps, found.base[-1][0])
        rows.append((f"{best.steps}, finetuned", score_text(final)))
        values["speed"] = Table(("NFE", "score"), rows, strong=(len(rows) - 1,))
    return values | {
        "score": f"{best.score:.4g}" if final is None else score_text(final),
        "fresh": final is not None,
        "facts": [fact for fact in (_speed_fact(found, best), _sure_fact(found, best)) if fact is not None],
        "point": point_text(best.point),
        "command": command_line(best.config, f"runs/{found.study.name}-best", FOLDED),
        "loading": loading_code(found.study.folder / BEST),
        "sure": sureness(found.trials, found.baseline, found.finals, best.number),
    }


def _speed_fact(found: StudySummary, best: Trial) -> Fact | None:
    """How many times fewer evaluations; None where the base model was measured with no larger budget."""
    if found.speedup is None or found.base[-1][0] <= best.steps:
        return None
    largest, ratio = found.base[-1][0] / best.steps, found.speedup.steps / best.steps
    if ratio <= 1:
        return "not faster", "than the base model, which needs no more evaluations for the same score"
    times = f"over {largest:.2g}" if math.isinf(ratio) else f"about {ratio:.2g}"
    return times, "times fewer evaluations than the base model needs for the same score"


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
