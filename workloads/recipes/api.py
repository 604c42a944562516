"""Business calls: programs fill templates and ask once."""

from workloads.arrivals import Arrivals
from workloads.clients import Client
from workloads.lengths import Lengths, LogNormal
from workloads.recipes.registry import recipe
from workloads.sharing import Documents, PrefixProfile, zipf_shares

CLIENT_CV = 1.2  # median of m-large's clients and windows (ServeGen, arXiv 2505.09999)
CLIENT_EXPONENT = 1.0  # gives the top of 162 clients 18 % of the requests; 16 % in m-large (ServeGen)
# Illustrative, but for their ratio: it makes the ideal hit ratio the published 54 % (KVCache Cache in the Wild,
# arXiv 2506.02634, trace B).
TEMPLATES = Documents(count=4, tokens=LogNormal(700.0, 0.5), zipf_exponent=1.5)
INPUT = LogNormal(440.0, 0.7)
OUTPUT = LogNormal(120.0, 0.9)  # illustrative


@recipe("api", "calls by programs: templates of each client, filled in, one turn")
def api(rate_per_s: float = 40.0, clients: int = 100) -> list[Client]:
    """`clients` programs, each with templates of its own."""
    return [
        Client.build(
            rank,
            Arrivals.build([rate_per_s * share], "gamma", CLIENT_CV),
            Lengths(INPUT, OUTPUT),
            prefixes=PrefixProfile(rank, documents=TEMPLATES),
        )
        for rank, share in enumerate(zipf_shares(clients, CLIENT_EXPONENT))
    ]
