"""Ultralytics: detection, segmentation, pose, oriented boxes and classification.

    from dynaprune import InfoBatch, KalmanBLS
    from dynaprune.integrations.ultralytics import PrunedTrainerMixin
    from ultralytics.models.yolo.detect import DetectionTrainer

    class PrunedTrainer(PrunedTrainerMixin, DetectionTrainer):
        def prune(self, dataset):
            return KalmanBLS(InfoBatch(dataset, num_epochs=self.epochs)).proxy()

    YOLO("yolo11n.yaml").train(data="bccd.yaml", epochs=100, trainer=PrunedTrainer)

Needs `pip install 'dynaprune[ultralytics]'`; without it, the import raises an `ImportError`.
Ultralytics has the licence AGPL-3.0, dynaprune does not: this package only calls it.

`_trainer.py` has the methods of the trainer that the mixin overrides; the other files have what
these do, one idea each.
"""

from ._trainer import PrunedTrainerMixin

__all__ = ["PrunedTrainerMixin"]
