"""The maximum mean discrepancy: kernels, unbiased estimator, bank of real features, gathering over workers."""
