"""Questions about images."""

from workloads.arrivals import Arrivals
from workloads.clients import Client
from workloads.lengths import Empirical, Lengths, LogNormal, Media, Mixture
from workloads.recipes.registry import recipe
from workloads.sharing import zipf_shares

# Images: 1.59 of 650 tokens on average (ServeGen, arXiv 2505.09999). How they spread, and all other lengths: half an
# hour of its mm-image (Apache-2.0), 16:00 of the first day.
IMAGES = Media(
    count=Empirical.build([1, 2, 3, 4, 6, 10], [0.76, 0.09, 0.08, 0.04, 0.015, 0.015]),
    tokens=Mixture((LogNormal(20.0, 0.3), LogNormal(650.0, 0.5)), (0.12, 0.88)),
)
TEXT = Mixture((LogNormal(75.0, 0.6), LogNormal(1400.0, 0.5)), (0.75, 0.25))
OUTPUT = Mixture((LogNormal(8.0, 0.5), LogNormal(125.0, 0.6)), (0.25, 0.75))
CLIENT_EXPONENT = 1.0  # of 35 clients, the top one has 14 % of the requests and the top ten 83 %
CLIENT_CV = 1.2  # median of m-large's clients and windows (arXiv 2505.09999)


@recipe("multimodal", "questions about one or more images, one turn")
def multimodal(rate_per_s: float = 8.0, clients: int = 35) -> list[Client]:
    """`clients` of Zipf popularity."""
    lengths = Lengths(TEXT, OUTPUT, media={"image": IMAGES})
    return [
        Client.build(rank, Arrivals.build([rate_per_s * share], "gamma", CLIENT_CV), lengths)
        for rank, share in enumerate(zipf_shares(clients, CLIENT_EXPONENT))
    ]
