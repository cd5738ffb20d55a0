"""Published deterministic solvers whose steps are linear in what they have seen: one table of coefficients each."""
