"""How samples are scored: one class per file.

`base.py` has what all scores share, and each score adds `observe`, which folds in the losses of an
epoch. Some files estimate more from the same losses, which `extras.py` keeps if a method or a
recording reads it: `visits.py`, how often each sample was measured; `mean_excess.py`, how its
losses compared with others over the run; `loss_trends.py`, how many losses do not fall;
`loss_progress.py` and `loss_shape.py`, how the losses of single samples are distributed.
`reliability.py` estimates how well the scores order the samples. `third_party.py` puts a score in
place of that of another library's object.
"""

from .base import Score
from .bls import BLS
from .kalman_bls import KalmanBLS
from .sample_loss import SampleLoss

__all__ = ["BLS", "KalmanBLS", "SampleLoss", "Score"]
