"""What lies beside an exported model: how it is sampled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmd_ddm.diffusion.budgets import unguided
from mmd_ddm.diffusion.names import FLOW_SCHEDULE, SAMPLERS, VARIANCES, is_flow_matching
from mmd_ddm.pretrained.configs import scheduler_config
from mmd_ddm.records import read_record

RECORD = "mmd_ddm.json"
BUDGET_FOLDER = "{}_steps"  # inside a model that was finetuned for several budgets, for each but the largest
STOCK = ("ddim", "ddpm", "dpm-solver++-2m", "dpm-solver++-3m")  # exported with schedulers of diffusers' own


def loading_lines(
    source: str,
    sampler: str,
    steps: int,
    eta: float = 0.0,
    own_network: bool = False,
    conditional: bool = False,
    pipeline: str | None = None,
    guidance_scale: float | None = None,
) -> list[str]:
    """Return the Python lines that sample from an exported model with diffusers alone.

    Args:
        source: folder or hub id.
        sampler: one of `SAMPLERS`.
        steps: the budget.
        eta: of DDIM.
        own_network: whether its folder brings the code of its network.
        conditional: whether the model is class-conditional.
        pipeline: the class of a latent model's, `LDMPipeline` or `DiTPipeline`.
        guidance_scale: of the latter.
    """
    kind = {"ddim": "DDIMPipeline"}.get(sampler, "DDPMPipeline" if sampler in STOCK else "DiffusionPipeline")
    kind, wanted = (kind, "batch_size=16") if not conditional else ("DiffusionPipeline", "class_labels=[0, 1] * 8")
    trust = ", trust_remote_code=True" if kind == "DiffusionPipeline" or own_network else ""
    if pipeline is not None:
        kind, trust = pipeline, ", trust_remote_code=True" if own_network or sampler not in STOCK else ""
    noise = f", eta={eta:g}" if sampler == "ddim" else ""
    if pipeline == "DiTPipeline":  # which guides unless it is told not to
        noise, steps = f", guidance_scale={guidance_scale or 1:g}", unguided(steps, guidance_scale)
    return [
        f"from diffusers import {kind}",
        "",
        f"pipeline = {kind}.from_pretrained({source!r}{trust})",
        f"images = pipeline({wanted}, num_inference_steps={steps}{noise}).images",
    ]


def budget_folder(folder: Path, steps: int | None) -> Path:
    """Where a model that was finetuned for several budgets lies as a pipeline for one of them (None: the largest)."""
    own = folder / BUDGET_FOLDER.format(steps)
    return own if (own / RECORD).is_file() else folder


def sampling_settings(folder: Path) -> dict[str, Any]:
    """Return how a pipeline folder is sampled, for `make_chain` with the linear schedule unless it names another.

    The exported process is either the original one, its timesteps evenly spread, or one that is respaced to just the
    timesteps of the budget: the linear schedule gives the finetuned timesteps of both. A model that was not finetuned
    has no `steps` and is sampled with deterministic DDIM, the paper's sampler; one of flow matching, in which the
    linear schedule would begin with a fifth of the image at five evaluations, with the trailing schedule.

    Raises:
        UserError: the record is damaged.
    """
    path = folder / RECORD
    if not path.exists():
        usual = {"sampler": "ddim", "eta": 0.0, "variance": "model"}
        return {**usual, "schedule": FLOW_SCHEDULE} if is_flow_matching(scheduler_config(folder)) else usual
    record = read_record(path, "export the model again")
    guided = {"guidance_scale": record.number("guidance_scale", 1, 100)} if "guidance_scale" in record else {}
    return guided | {
        "sampler": record.one_of("sampler", *SAMPLERS),
        "steps": record.whole("steps", 1),
        "eta": record.number("eta", 0, 1),
        "variance": record.one_of("variance", *VARIANCES),
    }
