"""What GPUs and models are: data sheets, Hugging Face shapes and calibrated kernel constants."""

from hardware_profiles.calibration import Calibration, load_calibration
from hardware_profiles.engine import EngineProfile, engine_names, load_engine
from hardware_profiles.gpu import Gpu, gpu_names, load_gpu
from hardware_profiles.kv_format import KV_FORMATS, KvFormat, kv_format
from hardware_profiles.library import ProfileError
from hardware_profiles.model import ModelShape
from hardware_profiles.model_config import load_model, model_names
from hardware_profiles.precision import PRECISIONS, Precision, precision
from hardware_profiles.prices import Prices, load_prices
from hardware_profiles.quantity import Quantity, quantities
from hardware_profiles.shard import ModelShard

__all__ = [
    "KV_FORMATS",
    "PRECISIONS",
    "Calibration",
    "EngineProfile",
    "Gpu",
    "KvFormat",
    "ModelShape",
    "ModelShard",
    "Precision",
    "Prices",
    "ProfileError",
    "Quantity",
    "engine_names",
    "gpu_names",
    "kv_format",
    "load_calibration",
    "load_engine",
    "load_gpu",
    "load_model",
    "load_prices",
    "model_names",
    "precision",
    "quantities",
]
