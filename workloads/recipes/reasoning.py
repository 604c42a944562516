"""Reasoning: long answers, most of which are thoughts."""

from workloads.arrivals import Arrivals
from workloads.clients import Client
from workloads.lengths import Empirical, Lengths, LogNormal, Mixture
from workloads.recipes.registry import recipe
from workloads.sharing import zipf_shares

# All from half an hour of ServeGen's deepseek-r1 (Apache-2.0), 22:00 of the first day, which has no conversations.
INPUT = Mixture((LogNormal(30.0, 0.4), LogNormal(420.0, 0.5), LogNormal(1500.0, 1.3)), (0.2, 0.72, 0.08))
OUTPUT = Mixture((LogNormal(480.0, 0.5), LogNormal(1400.0, 1.0)), (0.85, 0.15))
REASON_RATIO = Empirical.build(
    [0.25, 0.35, 0.45, 0.55, 0.65, 0.75, 0.85, 0.95], [0.017, 0.123, 0.089, 0.039, 0.085, 0.292, 0.192, 0.163]
)
CLIENT_EXPONENT = 1.2  # of 73 clients, the top one has 29 % of the requests and the top ten 68 %
CLIENT_CV = 1.2  # median of m-large's clients and windows (arXiv 2505.09999)


@recipe("reasoning", "reasoning: short prompts, answers that are mostly thoughts")
def reasoning(rate_per_s: float = 8.0, clients: int = 73) -> list[Client]:
    """`clients` of Zipf popularity; `workloads.compose.reason_tokens` tells which output is reasoning."""
    return [
        Client.build(
            rank, Arrivals.build([rate_per_s * share], "gamma", CLIENT_CV), Lengths(INPUT, OUTPUT, REASON_RATIO)
        )
        for rank, share in enumerate(zipf_shares(clients, CLIENT_EXPONENT))
    ]
