"""A whole study that says which placement groups are left before Ray is shut down."""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

if __name__ == "__main__":
    import ray
    from ray.util import placement_group_table

    import tune.search

    shutdown = ray.shutdown

    def look_and_shut_down() -> None:
        if ray.is_initialized():
            time.sleep(3)
            states = [group["state"] for group in placement_group_table().values()]
            print("placement groups:", [state for state in states if state != "REMOVED"])
        shutdown()

    ray.shutdown = look_and_shut_down
    sys.exit(tune.search.main())
