"""From scores to the samples of an epoch: selection, plan, share, sampler."""
