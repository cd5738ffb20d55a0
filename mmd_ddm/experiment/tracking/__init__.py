"""Everything of MLflow: runs, the model registry, and models by their address."""
