"""What a model file says about itself, read without loading it."""

from rigwright.models.gguf import read_model
from rigwright.models.values import Model, Ssm, Tensor

__all__ = ["Model", "Ssm", "Tensor", "read_model"]
