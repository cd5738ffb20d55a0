"""Finetuning: the objective, its exact gradient through the chain, and the loop."""
