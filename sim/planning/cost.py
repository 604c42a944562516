"""What a fleet costs: its GPUs by the hour, and their electricity."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hardware_profiles import load_gpu, load_prices

from ..errors import SimError, unknown_name
from ..scenario import InstanceGroup


@dataclass(frozen=True)
class Cost:
    """In US dollars an hour; power is the mean of all GPUs together."""

    gpus_per_hour: float
    power_kw: float
    kwh_price: float

    @property
    def energy_per_hour(self) -> float:
        return self.power_kw * self.kwh_price

    @property
    def per_hour(self) -> float:
        return self.gpus_per_hour + self.energy_per_hour

    def per_million(self, tokens_per_s: float) -> float:
        """Dollars per million tokens."""
        return self.per_hour / (tokens_per_s * 3600 / 1e6)


@dataclass(frozen=True)
class CostModel:
    """``gpu_hour`` has the price of an hour of each GPU by its name in small letters, without electricity."""

    gpu_hour: Mapping[str, float]
    kwh_price: float
    assumptions: Mapping[str, str]

    @classmethod
    def make(cls, gpus: Sequence[str], own: Mapping[str, float], kwh_price: float | None) -> "CostModel":
        """For the GPUs of a plan: ``own`` prices, by name, and those that ship for the others.

        Raises `SimError` for a GPU without a price, and for a price of a GPU that the plan does not have.
        """
        names = {load_gpu(gpu).name: gpu for gpu in gpus}
        given = {name.lower(): price for name, price in own.items()}
        for name in own:
            if name.lower() not in {one.lower() for one in names}:
                raise SimError(unknown_name("--price", name, names))
        shipped = load_prices()
        prices, assumed = {}, {}
        for name in names:
            if name.lower() in given:
                prices[name.lower()] = given[name.lower()]
                continue
            if name not in shipped.gpu_hour:
                raise SimError(f"{name} has no price; give it one, as in --price {name}=2.5 (dollars an hour)")
            price = shipped.gpu_hour[name]
            prices[name.lower()] = price.value
            assumed[f"price of {name}"] = f"{price.value:g} $ an hour: {price.source}; {price.reason}"
        if kwh_price is None:
            kwh = shipped.kwh
            assumed["price of electricity"] = f"{kwh.value:g} $/kWh: {kwh.source}; {kwh.reason}"
            kwh_price = kwh.value
        for name, gpu in names.items():
            idle = load_gpu(gpu).idle_watt
            if idle.assumption:
                assumed[f"idle power of {name}"] = f"{idle.value:g} W: {idle.source}; {idle.reason}"
        assumed["power"] = "an instance that runs a step draws the TDP, another the idle power; hosts are not counted"
        return cls(prices, kwh_price, assumed)

    def of(self, groups: Sequence[InstanceGroup], busy: Sequence[float]) -> Cost:
        """Of a fleet whose groups' instances are busy for these fractions of the time."""
        per_hour = power_kw = 0.0
        for group, fraction in zip(groups, busy, strict=True):
            gpu, count = load_gpu(group.gpu), group.instances * group.tp * group.pp
            idle, tdp = gpu.idle_watt.value, gpu.tdp_watt.value
            per_hour += count * self.gpu_hour[gpu.name.lower()]
            power_kw += count * (idle + (tdp - idle) * fraction) / 1000
        return Cost(per_hour, power_kw, self.kwh_price)
