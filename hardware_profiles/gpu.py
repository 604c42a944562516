"""What a GPU can do at most: the data sheet."""

from typing import Annotated

from hardware_profiles.library import locate, profile_names, read_fields, validate
from hardware_profiles.quantity import Profile, Quantity, measured_in


class Gpu(Profile):
    """The data sheet of one GPU. Peaks are dense; NVLink is per direction."""

    name: str
    bf16_tflops: Annotated[Quantity, measured_in("TFLOPS")]
    memory_gb: Annotated[Quantity, measured_in("GB")]
    usable_memory_gib: Annotated[Quantity, measured_in("GiB")]
    hbm_gb_per_s: Annotated[Quantity, measured_in("GB/s")]
    nvlink_gb_per_s: Annotated[Quantity, measured_in("GB/s")]
    sm_count: Annotated[Quantity, measured_in("SMs")]

    @property
    def flops_per_s(self) -> float:
        """Peak bf16 floating-point operations a second."""
        return self.bf16_tflops.value * 1e12

    @property
    def hbm_bytes_per_s(self) -> float:
        """Peak memory bandwidth in bytes a second."""
        return self.hbm_gb_per_s.value * 1e9

    @property
    def usable_memory_bytes(self) -> float:
        """The total that the CUDA runtime reports (cudaMemGetInfo), which is less than the data sheet's."""
        return self.usable_memory_gib.value * 2**30


def gpu_names() -> list[str]:
    """The names that `load_gpu` knows."""
    return profile_names("gpus")


def load_gpu(name: str) -> Gpu:
    """The GPU called `name` (any letter case), or the one in the YAML file at that path.

    Raises `ProfileError` for an unknown name or a malformed file.
    """
    path = locate("GPU", "gpus", name)
    return validate(path, Gpu, read_fields(path))
