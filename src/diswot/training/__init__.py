"""Training of a student through Lightning; how it is distilled, what is kept, its processes."""

from diswot import _torchvision

_torchvision.ensure()  # before any module here imports Lightning or torchmetrics
