"""The subcommands of `mmd-ddm`: each module has `add_options(parser)` and `execute(options)`."""
