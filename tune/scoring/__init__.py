"""Final scores: finalists on fresh noise, their ranking and its uncertainty, and the speed-up."""
