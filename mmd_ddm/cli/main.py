"""`mmd-ddm`: from images and a pretrained model to a finetuned one and its scores, from the command line."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable, Sequence

from mmd_ddm.cli.image_options import use_weights
from mmd_ddm.errors import DivergenceError, UserError

Handler = Callable[[argparse.Namespace], None]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status: 0, 1 for a diverged run, 2 for wrong input, 130 for Ctrl-C."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    for noisy in ("httpx", "huggingface_hub", "alembic", "mlflow"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    try:
        options = build_parser().parse_args(arguments)
        use_weights(getattr(options, "weights", None))
        handler: Handler = options.handler
        handler(options)
    except UserError as error:
        print(f"mmd-ddm: {error}", file=sys.stderr)
        return 2
    except DivergenceError as error:
        print(f"mmd-ddm: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("mmd-ddm: interrupted; a finetuning run goes on with --resume", file=sys.stderr)
        return 130
    except OSError as error:
        # a full disk or a folder that may not be written: the user's to mend, not a bug to trace
        print(f"mmd-ddm: {error}", file=sys.stderr)
        return 2
    return 0


def build_parser() -> argparse.ArgumentParser:
    """The command line with all its options."""
    from mmd_ddm.cli import evaluate, figures, finetune, import_model, prepare, pretrain, sample

    parser = argparse.ArgumentParser(prog="mmd-ddm", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, module in (
        ("prepare", prepare),
        ("import", import_model),
        ("pretrain", pretrain),
        ("finetune", finetune),
        ("evaluate", evaluate),
        ("sample", sample),
        ("figures", figures),
    ):
        summary = (module.__doc__ or "").strip()
        command = commands.add_parser(
            name,
            help=summary.splitlines()[0],
            description=summary,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_options(command)
        command.set_defaults(handler=module.execute)
    return parser
