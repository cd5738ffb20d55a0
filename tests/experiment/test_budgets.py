"""One set of weights for several budgets: trained, scored, exported and sampled at each."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import DDIMPipeline, UNet2DModel

from mmd_ddm.errors import UserError
from mmd_ddm.evaluation.evaluator import to_uint8
from mmd_ddm.evaluation.metrics import Metrics, kids
from mmd_ddm.experiment.build import Parts
from mmd_ddm.experiment.config import Config
from mmd_ddm.experiment.cost import network_evaluations
from mmd_ddm.experiment.inference.sample import sample
from mmd_ddm.experiment.inputs import check
from mmd_ddm.experiment.presets import preset
from mmd_ddm.experiment.run import finetune
from mmd_ddm.experiment.run_folder import Row, read_rows
from mmd_ddm.experiment.scoring.evaluate import evaluate
from mmd_ddm.experiment.scoring.scored_model import relative_score
from mmd_ddm.experiment.update import UpdateGradient
from mmd_ddm.finetuning.memory import Route

BUDGETS = (2, 3, 5)  # 3 does not divide T: its pipeline is respaced
CONFIG = preset("paper", "digits").replace(
    steps="3,2,5", updates=6, batch=6, scorings=2, score_images=30, reference="bank", learning_rate=1e-4
)


class Run:
    """A whole run, and the same one stopped on its way and gone on with."""

    def __init__(self, folder: Path) -> None:
        self.rows: list[Row] = []
        self.outcome = finetune(CONFIG, folder / "whole", report=lambda row, checkpoint: self.rows.append(row))
        seen: list[int] = []
        again = {"on_update": lambda record: seen.append(record.update), "report": lambda row, checkpoint: None}
        finetune(CONFIG, folder / "part", should_stop=lambda: len(seen) == 4, **again)
        self.resumed = finetune(CONFIG, folder / "part", checkpoint=folder / "part/checkpoint", **again)
        self.updates, self.again = (
            [
                {key: value for key, value in row.items() if key != "time"}
                for row in read_rows(each / "metrics.jsonl")[0]
            ]
            for each in (folder / "whole", folder / "part")
        )

    @property
    def model(self) -> Path:
        assert self.outcome.model is not None
        return self.outcome.model


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run(tmp_path_factory.mktemp("budgets"))


def test_steps_are_a_number_or_several() -> None:
    assert (CONFIG.sampler.steps, CONFIG.optimization.other_steps, CONFIG.budgets) == (5, "2,3", BUDGETS)
    assert Config.from_flat(CONFIG.flat()) == CONFIG
    assert Config().replace(steps="7").budgets == (7,)
    assert Config().replace(steps="7,7").flat() == Config().replace(steps=7).flat()
    assert CONFIG.at_budget(3).flat() == {**CONFIG.flat(), "steps": 3, "other_steps": "2,5"}
    assert Config().at_budget(5) == Config()


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"steps": "2,x"}, "steps is '2,x'.*such as 2,3,5"),
        ({"steps": "0,3"}, "steps is '0,3'.*at least 1"),
        ({"steps": 5, "other_steps": "3,5"}, "other_steps is 3,5, but steps is 5 already"),
        ({"other_steps": "2;3"}, "other_steps is '2;3'.*such as 2,3"),
    ],
)
def test_wrong_budgets(values: dict[str, object], told: str) -> None:
    with pytest.raises(UserError, match=told):
        Config().replace(**values)


def test_every_budget_is_checked_against_the_model() -> None:
    with pytest.raises(UserError, match="steps is 2000; a budget is 1 to 1000"):
        check(Config().replace(steps=5, other_steps="2000"))


def test_updates_take_turns_and_go_on_after_a_stop(run: Run) -> None:
    taken = [int(row["nfe"]) for row in run.updates if "nfe" in row]
    assert len(taken) == 6
    assert set(taken[:3]) == set(taken[3:]) == set(BUDGETS)
    assert run.again == run.updates
    assert run.resumed.scoring == run.outcome.scoring
    # two updates of each budget, three scorings (the base model's first) of 30 images with each
    assert network_evaluations(CONFIG) == (6 * 6 * 10 // 3, 3 * 30 * 10)


def test_an_update_is_that_of_a_run_of_its_budget_alone() -> None:
    gradient = UpdateGradient(Parts(CONFIG))
    alone = UpdateGradient(Parts(CONFIG.replace(steps=gradient.budget(1), other_steps=None)))
    found = []
    for each in (gradient, alone):
        loss, _ = each.compute(Route("replay", 4), 1)
        found.append([loss, *(p.grad for p in each.parts.denoiser.parameters() if p.grad is not None)])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_the_score_is_that_of_the_worst_space_at_the_worst_budget(run: Run) -> None:
    scoring = run.outcome.scoring
    assert scoring is not None
    found = kids(scoring.metrics)
    assert set(found) == {f"{space}@{steps}" for space in ("classifier", "contrastive") for steps in BUDGETS}
    assert {"fid_classifier@2_30", "kid_contrastive@5_stderr"} <= run.rows[0].keys()
    parts = Parts(CONFIG)
    base: Metrics = parts.score()
    alone = [kids(Parts(CONFIG.at_budget(steps).replace(other_steps=None)).score()) for steps in BUDGETS]
    for steps, each in zip(BUDGETS, alone, strict=True):
        for space, kid in each.items():
            assert kids(base)[f"{space}@{steps}"] == kid._replace(space=f"{space}@{steps}")
    by_place = [relative_score((kid,), (kids(base)[place],)) for place, kid in found.items()]
    assert scoring.score == max(by_place)


@pytest.mark.parametrize("steps", BUDGETS)
def test_diffusers_samples_each_budget(run: Run, steps: int) -> None:
    folder = run.model if steps == 5 else run.model / f"{steps}_steps"
    pipeline = DDIMPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    generator = torch.manual_seed(3)
    theirs = pipeline(batch_size=4, num_inference_steps=steps, generator=generator, output_type="np").images
    ours = sample(run.model, 4, seed=3, steps=steps)
    assert torch.equal(to_uint8(ours).movedim(1, 3), (torch.from_numpy(theirs) * 255).round().to(torch.uint8))
    own, largest = (UNet2DModel.from_pretrained(each / "unet").state_dict() for each in (folder, run.model))
    assert all(torch.equal(own[name], value) for name, value in largest.items())


def test_each_budget_is_evaluated_beside_the_base_model(run: Run) -> None:
    rows = evaluate(run.model, images=40, features="classifier")
    assert [(row.model.role, row.nfe) for row in rows if row.model] == [
        *(("finetuned", steps) for steps in BUDGETS), *(("base", steps) for steps in (*BUDGETS, 20, 50))
    ]  # fmt: skip
    (only,) = (
        row for row in evaluate(run.model, images=40, features="classifier", base="none", steps=[3]) if row.model
    )
    assert only == rows[1]
