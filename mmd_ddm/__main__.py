"""`python -m mmd_ddm` is `mmd-ddm`."""

import sys

from mmd_ddm.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
