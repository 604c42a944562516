"""Retrieval: a question after the passages found for it, of which some are found often."""

from workloads.arrivals import Arrivals
from workloads.clients import Client
from workloads.lengths import Lengths, LogNormal
from workloads.recipes.registry import recipe
from workloads.sharing import Documents, PrefixProfile

# All illustrative: no trace with retrieved passages is at hand.
SYSTEM_TOKENS = 200
PASSAGE_TOKENS = LogNormal(400.0, 0.5)
ZIPF_EXPONENT = 1.0
INPUT, OUTPUT = LogNormal(40.0, 0.7), LogNormal(150.0, 0.7)


@recipe("rag", "retrieval: system prompt, passages of Zipf popularity, question; illustrative")
def rag(rate_per_s: float = 8.0, documents: int = 10_000, passages: int = 3) -> list[Client]:
    """One application whose prompts begin with `passages` out of `documents`, drawn independently, in their order."""
    library = Documents(documents, PASSAGE_TOKENS, ZIPF_EXPONENT, each=passages)
    return [
        Client.build(
            0,
            Arrivals.build([rate_per_s]),
            Lengths(INPUT, OUTPUT),
            prefixes=PrefixProfile(0, SYSTEM_TOKENS, library),
        )
    ]
