import json
import shlex
import subprocess

import pytest

from mmd_ddm.cli.main import build_parser
from mmd_ddm.experiment.config import settings
from mmd_ddm.experiment.presets import PRESETS, preset
from tune.report.reproduce import FOLDED, command_line, loading_code


@pytest.mark.parametrize("start", PRESETS)
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"kernel": "cubic+rbf:median", "learning_rate": 1 / 30000, "schedule": "quadratic", "bandwidth": None},
        {"clip": None, "base_model": "a folder/of'mine", "bandwidth": None, "kernel": "linear", "steps": 7},
    ],
)
def test_the_command_line_repeats_a_configuration_exactly(start, changes):
    config = preset(start, "digits").replace(**changes)
    words = shlex.split(command_line(config, "runs/my best"))
    assert words[0] == "mmd-ddm"
    options = build_parser().parse_args(words[1:])
    given = {item.name: getattr(options, item.name) for item in settings() if getattr(options, item.name) is not None}
    assert preset(options.preset, given["dataset"]).replace(**given) == config
    assert str(options.output) == "runs/my best"


def test_a_folded_line_is_the_same_to_a_shell():
    config = preset("best", "digits").replace(steps=7, schedule="quadratic", base_model="a folder/of'mine")
    script = f"set -- {command_line(config, 'my best', FOLDED)}; printf '%s\\n' \"$@\""
    said = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout
    assert said.splitlines() == shlex.split(command_line(config, "my best"))


def test_a_preset_needs_no_flags():
    assert command_line(preset("paper", "digits"), "x") == (
        "mmd-ddm finetune --preset paper --dataset digits --output x"
    )


@pytest.mark.parametrize(
    ("sampler", "call", "pipeline"),
    [
        ("ddim", "steps=5, eta=0.5", "DDIMPipeline"),
        ("ddpm", "steps=5", "DDPMPipeline"),
        ("dpm-solver++-2m", "steps=5", "DDPMPipeline"),
        ("unipc-3", "steps=5", "DiffusionPipeline"),
    ],
)
def test_loading_code_names_the_pipeline_and_the_budget(tmp_path, sampler, call, pipeline):
    (tmp_path / "mmd_ddm.json").write_text(
        json.dumps({"sampler": sampler, "steps": 5, "eta": 0.5, "variance": "model"})
    )
    code = loading_code(tmp_path)
    compile(code, "report", "exec")
    assert f"{pipeline}.from_pretrained" in code
    assert ("trust_remote_code=True" in code) == (pipeline == "DiffusionPipeline")
    assert f"num_inference_{call})" in code


def test_loading_code_of_a_class_conditional_model_names_classes(tmp_path):
    (tmp_path / "mmd_ddm.json").write_text(json.dumps({"sampler": "ddim", "steps": 5, "eta": 0, "variance": "model"}))
    (tmp_path / "class_conditional_pipeline.py").touch()
    code = loading_code(tmp_path)
    assert "DiffusionPipeline.from_pretrained" in code
    assert "trust_remote_code=True" in code
    assert "class_labels=[0, 1]" in code
    assert "batch_size" not in code


def test_loading_code_trusts_a_network_that_lies_in_the_folder(tmp_path):
    (tmp_path / "mmd_ddm.json").write_text(json.dumps({"sampler": "ddim", "steps": 5, "eta": 0, "variance": "model"}))
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet/edm_unet.py").touch()
    assert "DDIMPipeline.from_pretrained" in loading_code(tmp_path)
    assert "trust_remote_code=True" in loading_code(tmp_path)
