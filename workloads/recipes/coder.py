"""Coding agents: long sessions of many short turns on a growing context."""

from workloads.arrivals import Arrivals
from workloads.clients import Client
from workloads.conversations import Conversation
from workloads.lengths import Lengths, LogNormal, Mixture
from workloads.recipes.registry import recipe
from workloads.sharing import PrefixProfile

# All from 710 Claude Code sessions (callanjfox/kv-cache-tester, Apache-2.0).
TURNS = LogNormal(45.5, 0.92)  # requests of a session: median 45.5, mean 69
THINK_S = Mixture((LogNormal(8.0, 0.6), LogNormal(100.0, 1.8)), (0.7, 0.3))  # p50 10 s, p90 167 s, p99 3,031 s
# What a request adds after the answer before: median about 450, with a long tail of files and tool results.
INPUT = Mixture((LogNormal(450.0, 1.1), LogNormal(12_000.0, 1.0)), (0.96, 0.04))
OUTPUT = LogNormal(230.0, 1.05)  # p50 216, p90 898
SYSTEM_TOKENS = 15_000  # p10 of the first prompts; that all sessions share it is illustrative
MAX_CONTEXT_TOKENS = 500_000  # p99 of the prompts


@recipe("coder", "coding agents: sessions of dozens of turns on a context of a hundred thousand tokens")
def coder(rate_per_s: float = 2.0, clients: int = 50) -> list[Client]:
    """`clients` users, all alike, with one system prompt in common."""
    sessions_per_s = rate_per_s / TURNS.mean()
    talk = Conversation(TURNS, THINK_S, max_context_tokens=MAX_CONTEXT_TOKENS)
    return [
        Client.build(
            user,
            Arrivals.build([sessions_per_s / clients]),
            Lengths(INPUT, OUTPUT),
            conversation=talk,
            prefixes=PrefixProfile(0, SYSTEM_TOKENS),
        )
        for user in range(clients)
    ]
