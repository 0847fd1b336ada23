"""How samples are scored: one class per file."""

from .base import Score
from .bls import BLS
from .kalman_bls import KalmanBLS
from .sample_loss import SampleLoss

__all__ = ["BLS", "KalmanBLS", "SampleLoss", "Score"]
