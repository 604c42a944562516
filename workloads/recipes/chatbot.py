"""Consumer chat: applications with a system prompt each, in conversations; beside them, single long prompts."""

from workloads.arrivals import Arrivals
from workloads.clients import Client
from workloads.conversations import Conversation, NextTurn
from workloads.lengths import Exponential, Lengths, LogNormal, Mixture
from workloads.recipes.registry import recipe
from workloads.sharing import PrefixProfile, zipf_shares

# Next turn after turn 1 and after later ones: KVCache Cache in the Wild (arXiv 2506.02634), trace A. Mean 3.5 turns.
NEXT_TURN = (0.5, 0.8)
# Seconds between turns, over their median: about 100 s (ServeGen, arXiv 2505.09999). Reuse times are exponential-like,
# and 80 % of the reuses come within 10 min (2506.02634, trace A), which makes two exponentials of this mixture.
BETWEEN = ((0.8, 0.64), (10.0, 0.36))  # (mean over the median, weight)
# Outputs: mean and standard deviation of the logarithm, of Azure's conversations of 2023 (CC-BY-4.0).
OUTPUT = LogNormal(151.0, 0.86)
# Of the conversations, those that are one long prompt without a follow-up, as when a file is summed up. Illustrative;
# were lengths independent of the number of turns, the ideal hit ratio would be at least 71 %, as first turns are 29 %
# of the requests. The length is the one that makes it the published 62 % (2506.02634, trace A).
FILE_SHARE = 0.25
FILE_INPUT = LogNormal(6000.0, 0.8)
SYSTEM_TOKENS, INPUT = 100, LogNormal(45.0, 0.8)  # illustrative
CLIENT_CV = 1.2  # median of m-large's clients and windows (ServeGen)
CLIENT_EXPONENT = 1.0  # gives the top of 162 clients 18 % of the requests; 16 % in m-large (ServeGen)


@recipe("chatbot", "consumer chat: conversations with growing histories, and some long single prompts")
def chatbot(rate_per_s: float = 8.0, clients: int = 100, between_s: float = 100.0) -> list[Client]:
    """`clients` applications that hold conversations, and a fourth as many that send files; `between_s`: median."""
    conversations_per_s = rate_per_s / NextTurn(NEXT_TURN).mean()
    first, later = NEXT_TURN
    turns = NextTurn((first / (1 - FILE_SHARE), later))  # with the files, `first` again
    waiting = Mixture(
        tuple(Exponential(mean * between_s) for mean, _ in BETWEEN), tuple(weight for _, weight in BETWEEN)
    )
    talk = Conversation(turns, waiting)
    talkers = [
        Client.build(
            rank,
            Arrivals.build([conversations_per_s * (1 - FILE_SHARE) * share], "gamma", CLIENT_CV),
            Lengths(INPUT, OUTPUT),
            conversation=talk,
            prefixes=PrefixProfile(rank, SYSTEM_TOKENS),
        )
        for rank, share in enumerate(zipf_shares(clients, CLIENT_EXPONENT))
    ]
    files = [
        Client.build(
            clients + rank,
            Arrivals.build([conversations_per_s * FILE_SHARE * share], "gamma", CLIENT_CV),
            Lengths(FILE_INPUT, OUTPUT),
            conversation=Conversation(NextTurn((0.0,)), waiting),
            prefixes=PrefixProfile(clients + rank, SYSTEM_TOKENS),
        )
        for rank, share in enumerate(zipf_shares((clients + 3) // 4, CLIENT_EXPONENT))
    ]
    return talkers + files
