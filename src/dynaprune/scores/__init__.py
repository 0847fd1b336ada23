"""How a sample is scored: one class a file."""

from .bls import BLS
from .kalman_bls import KalmanBLS
from .sample_loss import SampleLoss
from .score import Score

__all__ = ["BLS", "KalmanBLS", "SampleLoss", "Score"]
