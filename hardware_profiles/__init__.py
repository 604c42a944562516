"""What GPUs and models are: data sheets, Hugging Face shapes and calibrated kernel constants."""

from hardware_profiles.calibration import Calibration, load_calibration
from hardware_profiles.gpu import Gpu, gpu_names, load_gpu
from hardware_profiles.library import ProfileError
from hardware_profiles.model import ModelShape, ModelShard, load_model, model_names
from hardware_profiles.quantity import Quantity, quantities

__all__ = [
    "Calibration",
    "Gpu",
    "ModelShape",
    "ModelShard",
    "ProfileError",
    "Quantity",
    "gpu_names",
    "load_calibration",
    "load_gpu",
    "load_model",
    "model_names",
    "quantities",
]
