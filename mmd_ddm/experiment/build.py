"""The parts of a run, put together from its configuration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from mmd_ddm.compilation import ON, Compiled
from mmd_ddm.data.images import ImageSet
from mmd_ddm.data.load import load_dataset
from mmd_ddm.data.store import Rows
from mmd_ddm.diffusion.chain import Chain
from mmd_ddm.diffusion.denoiser import Denoiser
from mmd_ddm.diffusion.labels import LabelSource
from mmd_ddm.diffusion.multistep.learned import LearnedChain, LearnedSampler
from mmd_ddm.diffusion.noise import NoiseSource
from mmd_ddm.diffusion.samplers import make_chain, make_learned_chain
from mmd_ddm.discrepancy.bank import Bank
from mmd_ddm.discrepancy.bank_files import TORCH_DTYPES, stored_bank
from mmd_ddm.discrepancy.collective import Collective, SingleCollective
from mmd_ddm.evaluation.evaluator import Evaluator, Sampler
from mmd_ddm.evaluation.metrics import Metrics, at_budget
from mmd_ddm.evaluation.reference import RealSide
from mmd_ddm.experiment.classes import class_counts, matches_pairs
from mmd_ddm.experiment.config import Config
from mmd_ddm.experiment.inputs import base_folder, dataset_of, scored_spaces
from mmd_ddm.experiment.objective import make_frechet, make_mmd
from mmd_ddm.features.load import load_feature_space
from mmd_ddm.features.mixture import FeatureMixture
from mmd_ddm.features.space import FeatureSpace
from mmd_ddm.finetuning.frechet import FrechetObjective
from mmd_ddm.finetuning.gradient import Rollout
from mmd_ddm.finetuning.image_range import into_range
from mmd_ddm.finetuning.memory import check_memory
from mmd_ddm.finetuning.names import FRECHET, SAMPLER, WEIGHTS
from mmd_ddm.finetuning.objective import Objective
from mmd_ddm.precision import use_tensor_cores, whole_products
from mmd_ddm.pretrained.configs import check_fits
from mmd_ddm.pretrained.load import load_denoiser

TRIAL_NOISE = "evaluation"  # stream of the noise that a run is scored on while it goes on


def default_device() -> torch.device:
    """Return CUDA if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@dataclass(frozen=True)
class Parts:
    """What a run is made of, on its device, for one of its workers; expensive parts are made when first asked for."""

    config: Config
    device: torch.device = field(default_factory=default_device)
    collective: Collective = field(default_factory=SingleCollective)
    _models: dict[Path, Denoiser] = field(default_factory=dict, init=False, repr=False)
    _spaces: dict[tuple[str, str], FeatureSpace] = field(default_factory=dict, init=False, repr=False)
    _banks: dict[tuple[str, str, bool], Bank] = field(default_factory=dict, init=False, repr=False)

    @cached_property
    def images(self) -> ImageSet:
        """Real images, in memory or mapped from disk."""
        return load_dataset(dataset_of(self.config))

    @cached_property
    def folder(self) -> Path:
        """The base model's, downloaded if need be."""
        return base_folder(self.config)

    @cached_property
    def denoiser(self) -> Denoiser:
        """The base model, in the mode in which it is finetuned."""
        denoiser = self._load(self.folder)
        if self.config.optimization.learn != WEIGHTS:
            chain = make_learned_chain(denoiser.schedule, **vars(self.config.sampler))
            denoiser.learn(chain.learned.to(self.device))
        if self.config.optimization.learn == SAMPLER:
            denoiser.network.requires_grad_(False)
        return denoiser.train(self.config.optimization.dropout == "train")

    def model(self, folder: Path | None) -> Denoiser:
        """A model to be sampled: the one in a folder, of which the latest is kept, or (None) the base model."""
        if folder is None:
            return self.denoiser.eval()
        if folder not in self._models:
            self._models.clear()
            self._models[folder] = self._load(folder)
        return self._models[folder]

    def _load(self, folder: Path) -> Denoiser:
        check_fits(folder, dataset_of(self.config))
        use_tensor_cores(precision := self.config.optimization.precision)
        return load_denoiser(folder, precision, self._compiles).to(self.device)

    @property
    def _compiles(self) -> bool:
        return self.config.optimization.compile == ON

    @cached_property
    def chains(self) -> dict[int, Chain]:
        """The sampler with each budget."""
        levels, learned = self.denoiser.schedule, self.denoiser.learned
        chains = {steps: make_chain(levels, **vars(how)) for steps, how in self.config.samplers.items()}
        if isinstance(learned, LearnedSampler):  # of the only budget
            return {
                steps: LearnedChain(each.solver, each.timesteps, learned, guidance_scale=each.guidance_scale)
                for steps, each in chains.items()
            }
        return chains

    @property
    def chain(self) -> Chain:
        """The sampler with its largest budget, which is the only one as a rule."""
        return self.chains[self.config.budgets[-1]]

    def _space(self, name: str, preprocessing: str) -> FeatureSpace:
        key = name, preprocessing
        if key not in self._spaces:
            shape = dataset_of(self.config).image_shape
            self._spaces[key] = load_feature_space(name, self.config.dataset, preprocessing, shape).to(self.device)
        return self._spaces[key]

    @whole_products()
    def _bank(self, space: FeatureSpace, dtype: str, mirrored: bool) -> Bank:
        key, device, collective = (space.identity, dtype, mirrored), self.device, self.collective
        if key not in self._banks and isinstance(self.images.images, Rows):
            self._banks[key] = stored_bank(
                self.images, space, dtype=dtype, mirrored=mirrored, device=device, collective=collective
            )
        elif key not in self._banks:
            images = self.images.floats().to(device)
            images = torch.cat([images, images.flip(-1)]) if mirrored else images
            self._banks[key] = Bank(Bank.embed(images, space, collective).features[:].to(TORCH_DTYPES[dtype]))
        return self._banks[key]

    @cached_property
    def spaces(self) -> dict[str, FeatureSpace]:
        """Feature spaces of the scores, by name."""
        return {name: self._space(name, "evaluation") for name in scored_spaces(self.config)}

    @cached_property
    def real(self) -> dict[str, RealSide]:
        """The real side of the scores, by feature space."""
        banks = {name: self._bank(space, "float32", False) for name, space in self.spaces.items()}
        return {name: RealSide(bank, self.device) for name, bank in banks.items()}

    @cached_property
    def loss_space(self) -> FeatureMixture:
        """The feature spaces of the loss, side by side."""
        c = self.config.objective
        return FeatureMixture([self._space(name, c.preprocessing) for name in c.spaces])

    @cached_property
    def _loss_pass(self) -> Callable[[Tensor], Tensor]:
        return Compiled(self.loss_space) if self._compiles else self.loss_space

    def embed(self, images: Tensor) -> Tensor:
        """Features of the loss (N, sum of D_i) of images (N, C, H, W)."""
        return self._loss_pass(into_range(images, self.config.objective.image_range))

    @property
    def pipeline(self) -> Rollout:
        """From noise to features of the loss, with the largest budget."""
        return self.pipelines[self.config.budgets[-1]]

    @cached_property
    def pipelines(self) -> dict[int, Rollout]:
        """From noise to features of the loss, with each budget."""
        training = self.config.optimization.dropout == "train"
        dropout = NoiseSource(self.config.seed, f"dropout {self.collective.rank}") if training else None
        return {
            steps: Rollout(self.denoiser, chain, self.embed, dropout, self.joint)
            for steps, chain in self.chains.items()
        }

    @cached_property
    def joint(self) -> bool:
        """Whether the loss compares pairs of image and class label."""
        return matches_pairs(self.config, self.denoiser.classes)

    def label_source(self, denoiser: Denoiser, stream: str, seed: int | None = None) -> LabelSource | None:
        """The labels of a model's images, beside their noise of a stream and a seed (None: the run's).

        None if the model is unconditional.
        """
        if denoiser.classes is None:
            return None
        return LabelSource(self.config.seed if seed is None else seed, stream, self._class_counts(denoiser))

    def _class_counts(self, denoiser: Denoiser) -> tuple[int, ...]:
        assert denoiser.classes is not None
        return class_counts(denoiser.classes, self.images, denoiser.null_class)

    @cached_property
    def objective(self) -> Objective | FrechetObjective:
        """The loss on features."""
        c = self.config.objective
        spaces = [self._space(name, c.preprocessing) for name in c.spaces]
        banks = [self._bank(space, c.bank_dtype, self.images.mirrored) for space in spaces]
        if c.loss == FRECHET:
            return make_frechet(self.config, banks, self.collective, self.device)
        labels = None
        if self.joint:
            assert self.images.labels is not None
            labels = self.images.labels, self._class_counts(self.denoiser)
        return make_mmd(self.config, banks, self.collective, self.device, labels)

    @property
    def evaluator(self) -> Evaluator:
        """The run's own model with its largest budget; trials that are compared start from the same noise."""
        return self.evaluators[self.config.budgets[-1]]

    @cached_property
    def evaluators(self) -> dict[int, Evaluator]:
        """The run's own model with each budget."""
        images = self.config.scoring.score_images
        return {
            steps: self.evaluator_of(self.denoiser, chain, images, TRIAL_NOISE) for steps, chain in self.chains.items()
        }

    def score(self) -> Metrics:
        """The run's own model in each feature space; of several budgets at each, as spaces of their own."""
        found = {steps: evaluator.score() for steps, evaluator in self.evaluators.items()}
        if len(found) == 1:
            return next(iter(found.values()))
        return tuple(metric for steps, metrics in found.items() for metric in at_budget(metrics, steps))

    def evaluator_of(
        self, denoiser: Denoiser, sampler: Sampler, images: int, stream: str, seed: int | None = None
    ) -> Evaluator:
        """A model with its sampler; its noise is of a stream and a seed (None: the run's)."""
        needed = 4.0 * images * sum(space.dim for space in self.spaces.values())
        check_memory(needed, self.device, f"the features of {images} generated images", "ask for fewer")
        noise = NoiseSource(self.config.seed if seed is None else seed, stream)
        labels, place = self.label_source(denoiser, stream, seed), (self.collective, self.device)
        return Evaluator(denoiser, sampler, self.spaces, self.real, images, noise, *place, self._compiles, labels)
