"""`mmd-ddm`: from images and a pretrained model to a finetuned one and its scores, from the command line."""

from __future__ import annotations

import argparse
import ast
import logging
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

from mmd_ddm.cli.options import add_threads_option, use_weights
from mmd_ddm.errors import DivergenceError, ResourceError, UserError, disk_full, out_of_memory
from mmd_ddm.experiment.machine.threads import use_threads

_NAMES = ("prepare", "import", "pretrain", "finetune", "evaluate", "sample", "figures", "doctor", "cache")
_CALCULATE = ("pretrain", "finetune", "evaluate", "sample", "figures")
_COMMANDS = {name: "import_model" if name == "import" else name for name in _NAMES}  # its file: import is a keyword


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    for noisy in ("httpx", "huggingface_hub", "alembic", "mlflow"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")

    def work() -> int:
        given = sys.argv[1:] if arguments is None else arguments
        asked = next((word for word in given if not word.startswith("-")), "")
        options = build_parser(asked).parse_args(given)
        use_weights(getattr(options, "weights", None))
        if hasattr(options, "threads"):
            use_threads(options.threads)
        return options.execute(options) or 0

    return run_command(work, "mmd-ddm", "a finetuning run goes on with --resume")


def run_command(work: Callable[[], int], who: str, resume: str) -> int:
    """Do a command's work, and say in one sentence why it ended before its end.

    Args:
        work: returns the exit status.
        who: the word before the sentence.
        resume: what to do after Ctrl-C, if the work doesn't say with its KeyboardInterrupt.

    Returns:
        The exit status: of the work, 1 for a diverged run or a machine that has not enough, 2 for wrong input, 130 for
        Ctrl-C.
    """
    try:
        return work()
    except KeyboardInterrupt as interrupt:
        print(f"{who}: interrupted; {interrupt.args[0] if interrupt.args else resume}", file=sys.stderr)
        return 130
    except (DivergenceError, ResourceError, UserError, OSError) as error:
        # a full disk or a folder that may not be written: the user's to mend, not a bug to trace
        full = disk_full(error)
        advice = f"; nothing that was there is damaged: free some space, and {resume}" if full else ""
        print(f"{who}: {error}{advice}", file=sys.stderr)
        return 1 if full or isinstance(error, (DivergenceError, ResourceError)) else 2
    except (MemoryError, RuntimeError) as error:
        said = (str(error).strip().splitlines() or [""])[0]
        if said.startswith("Symlink loop"):  # pathlib's, which is no OSError
            print(f"{who}: {said}; name another path", file=sys.stderr)
            return 2
        if not out_of_memory(error):
            raise
        advice = "lower the batch, the micro-batch, the images or the workers"
        print(f"{who}: memory ran out ({said[:200]}); {advice}", file=sys.stderr)
        return 1


def build_parser(asked: str | None = None) -> argparse.ArgumentParser:
    """The command line with the options of the command that is asked for, or (None) of all.

    What commands need takes seconds to import, so that the others are not.
    """
    parser = argparse.ArgumentParser(prog="mmd-ddm", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, file in _COMMANDS.items():
        about = ast.get_docstring(ast.parse(Path(__file__).with_name(f"{file}.py").read_text("utf-8"))) or ""
        layout = argparse.RawDescriptionHelpFormatter
        command = commands.add_parser(name, help=about.splitlines()[0], description=about, formatter_class=layout)
        if asked in (None, name):
            module = import_module(f"{__package__}.{file}")
            module.add_options(command)
            if name in _CALCULATE:
                add_threads_option(command)
            command.set_defaults(execute=module.execute)
    return parser
