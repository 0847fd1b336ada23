"""From scores to the samples of an epoch: selection, plan, share, sampler.

A method returns a `Selection`: samples and weights, in any order. A `Plan` is that selection,
shuffled: all ranks make the same one, because it depends on scores, epoch and seed only. A `Share`
is one rank's part of it, and the sampler serves that. So a run resumes exactly, and ranks need not
tell each other what they serve.
"""

from .sampler import PruningSampler
from .selection import Selection

__all__ = ["PruningSampler", "Selection"]
