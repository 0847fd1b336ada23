"""Tests with torchvision, in an environment of their own: `make test-vision`.

Elsewhere they are not collected: torchvision does not load beside every build of torch, and
Transformers then cannot be imported either.
"""

from __future__ import annotations

import importlib.util
import os

import pytest

PACKAGES = ("timm", "torchvision", "ultralytics")

pytest.register_assert_rewrite("vision_runs")

if all(importlib.util.find_spec(package) for package in PACKAGES):
    from torchvision_operators import declare_operators

    os.environ["YOLO_OFFLINE"] = "1"  # read when Ultralytics is imported
    declare_operators()
else:
    collect_ignore_glob = ["test_*.py"]
