"""What an hour of a GPU costs, and electricity."""

from typing import Annotated

from hardware_profiles.library import ROOT, read_fields, validate
from hardware_profiles.quantity import Profile, Quantity, measured_in


class Prices(Profile):
    """In US dollars. `gpu_hour` is by the GPU's name and without electricity."""

    kwh: Annotated[Quantity, measured_in("$/kWh")]
    gpu_hour: dict[str, Annotated[Quantity, measured_in("$/h")]]


def load_prices() -> Prices:
    """The prices that ship, all of them assumptions."""
    path = ROOT / "prices.yaml"
    return validate(path, Prices, read_fields(path))
