"""`mmd-ddm`: from images and a pretrained model to a finetuned one and its scores, from the command line."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable, Sequence

from mmd_ddm.cli.options import use_weights
from mmd_ddm.errors import DivergenceError, ResourceError, UserError, disk_full, out_of_memory


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    for noisy in ("httpx", "huggingface_hub", "alembic", "mlflow"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")

    def work() -> int:
        options = build_parser().parse_args(arguments)
        use_weights(getattr(options, "weights", None))
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


def build_parser() -> argparse.ArgumentParser:
    """The command line with all its options."""
    from mmd_ddm.cli import doctor, evaluate, figures, finetune, import_model, prepare, pretrain, sample

    parser = argparse.ArgumentParser(prog="mmd-ddm", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for module in (prepare, import_model, pretrain, finetune, evaluate, sample, figures, doctor):
        name, about = module.__name__.rpartition(".")[2].removesuffix("_model"), (module.__doc__ or "").strip()
        layout = argparse.RawDescriptionHelpFormatter
        command = commands.add_parser(name, help=about.splitlines()[0], description=about, formatter_class=layout)
        module.add_options(command)
        command.set_defaults(execute=module.execute)
    return parser
