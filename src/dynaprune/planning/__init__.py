"""From scores to what an epoch serves: selection, plan, share, sampler."""
