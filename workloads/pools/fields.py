"""The laws of lengths by name, as files hold them."""

from collections.abc import Mapping

from workloads.lengths import Law, Lengths, Media

RATIO_DIGITS = 3  # decimals of `reason_ratio`; all other fields are whole numbers


def laws_of(lengths: Lengths) -> dict[str, Law]:
    """All laws by name: `input`, `output`, `reason_ratio`, and `<kind>_count` and `<kind>_tokens` of media."""
    laws: dict[str, Law] = {"input": lengths.input, "output": lengths.output}
    if lengths.reason_ratio is not None:
        laws["reason_ratio"] = lengths.reason_ratio
    for kind, media in (lengths.media or {}).items():
        laws |= {f"{kind}_count": media.count, f"{kind}_tokens": media.tokens}
    return laws


def lengths_of(laws: Mapping[str, Law], correlation: float) -> Lengths:
    """The lengths that have these laws."""
    kinds = [name.removesuffix("_count") for name in laws if name.endswith("_count")]
    media = {kind: Media(laws[f"{kind}_count"], laws[f"{kind}_tokens"]) for kind in kinds}
    return Lengths(laws["input"], laws["output"], laws.get("reason_ratio"), media or None, correlation)
