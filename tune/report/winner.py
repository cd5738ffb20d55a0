"""What a report says first: the winner, how much faster it is, how sure that is, and the front of two objectives."""

from __future__ import annotations

import math

from tune.report.blocks import Block, Bullets, Code, Facts, Figure, Heading, Paragraph, Table
from tune.report.pareto import draw_front
from tune.report.reproduce import FOLDED, command_line, loading_code
from tune.report.summary import StudySummary
from tune.report.verdicts import sureness
from tune.scoring.ranking import complete, front, percent, probability_better, trial_estimate
from tune.scoring.speedup import faster
from tune.study.folder import Trial
from tune.study.format import plus_minus, point_text

BEST = "best"


def winner_section(found: StudySummary, best: Trial) -> list[Block]:
    """The winner: numbers, verdict, command line and code."""
    facts = [(f"trial {best.number:03d}", f"the winner of {len(found.trials)} trials")]
    final = found.finals.get(best.number)
    if final is None:
        facts.append((f"{best.score:.4g}", "its score on the noise of the trials; the base model's is 1"))
    else:
        facts.append((plus_minus(final.mean, final.errors[0]), "its score on fresh noise; the base model's is 1"))
    if found.speedup is not None and found.base[-1][0] > found.steps:
        facts.append((_ratio(found), "times fewer evaluations for the base model's score"))
    if (sure := _sure(found, best)) is not None:
        facts.append(sure)
    command = command_line(best.config, f"runs/{found.study.name}-best", FOLDED)
    verdict: list[Block] = [Paragraph(f"**{found.said[0]}**"), Bullets(tuple(found.said[1:]))] if found.said else []
    return [
        Facts(tuple(facts)),
        *verdict,
        Paragraph(f"Its settings: {point_text(best.point)}."),
        Paragraph("The same run without a search (to rounding, which depends on the number of threads and workers):"),
        Code(command),
        Paragraph("The model is a diffusers pipeline in `best/`:"),
        Code(loading_code(found.study.folder / BEST), "python"),
    ]


def _ratio(found: StudySummary) -> str:
    speedup, largest = found.speedup, found.base[-1][0]
    if speedup is None or speedup.steps == 0:
        return "no"
    return (
        f"over {largest / found.steps:.2g}" if math.isinf(speedup.steps) else f"about {speedup.steps / found.steps:.2g}"
    )


def _sure(found: StudySummary, best: Trial) -> tuple[str, str] | None:
    """How sure it is that the winner beats the runner-up, on fresh noise if both have scores there."""
    if best.number in found.finals and len(found.finals) > 1:
        other = min((n for n in found.finals if n != best.number), key=lambda n: found.finals[n].mean)
        sure = probability_better(found.finals[best.number], found.finals[other])
    elif len(first_two := complete(found.trials)[:2]) == 2 and found.baseline:
        other = first_two[1].number
        sure = probability_better(*(trial_estimate(trial, found.baseline) for trial in first_two))
    else:
        return None
    return percent(sure), f"sure, at least, that it beats trial {other:03d}"


def speed_section(found: StudySummary) -> list[Block]:
    """The base model's budget of the same score; nothing without final scores."""
    if found.speedup is None:
        return []
    sentences = [faster(found.speedup, found.steps, found.base[-1][0])]
    rows = [(f"{steps}", plus_minus(each.mean, each.errors[0])) for steps, each in found.base]
    final = found.finals[found.best.number] if found.best is not None else found.base[0][1]
    rows.append((f"{found.steps}, finetuned", plus_minus(final.mean, final.errors[0])))
    return [
        Heading("How much faster"),
        Paragraph(" ".join(sentences)),
        Table(("evaluations", "score"), tuple(rows), strong=(len(rows) - 1,)),
        Paragraph(_SCORE.format(first=found.first_steps)),
    ]


_SCORE = (
    "The score is the mean over feature spaces of KID relative to the base model's with {first} evaluations: 1 is the "
    "base model, 0 the real images' distribution. ± is one standard error, an upper bound."
)


def front_section(found: StudySummary) -> list[Block]:
    """The Pareto front, of a study that searches budgets."""
    best = front(found.trials)
    if not best or not found.baseline:
        return []
    scores = {trial.number: trial_estimate(trial, found.baseline) for trial in complete(found.trials)}
    figure = draw_front(found.study, found.trials, scores, found.base)
    rows = []
    for trial in best:
        fresh, own = found.finals.get(trial.number), scores[trial.number]
        rows.append((
            f"{trial.steps}", f"{trial.number:03d}", plus_minus(own.mean, own.errors[0]),
            plus_minus(fresh.mean, fresh.errors[0]) if fresh else "",
            point_text({name: value for name, value in trial.point.items() if name != "steps"}),
        ))  # fmt: skip
    words = (
        "The trials that no other beats with as few or fewer evaluations. Scores are all relative to the base model "
        f"with {found.first_steps} evaluations, so those of different budgets can be compared. The "
        "winner is the one with the smallest score on fresh noise, or, tied with it, with fewer evaluations; the other "
        "models are in `trials/`."
    )
    head = ("evaluations", "trial", "score", "score, fresh noise", "settings")
    return [
        Heading("Score against evaluations"),
        *([Figure(figure, "Pareto front")] if figure else []),
        Paragraph(words),
        Table(head, tuple(rows), ("settings",)),
    ]


def sure_section(found: StudySummary, best: Trial) -> list[Block]:
    """How sure the ranking is."""
    words = sureness(found.trials, found.baseline, found.finals, best.number)
    return [Heading("How sure the ranking is"), Bullets(tuple(words))] if words else []
