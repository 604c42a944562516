"""Agents and tools: few system prompts, long and shared by all requests of a tool."""

from dataclasses import dataclass

from workloads.arrivals import Arrivals
from workloads.clients import Client
from workloads.conversations import Conversation, NextTurn
from workloads.lengths import Law, Lengths, LogNormal, Mixture
from workloads.recipes.registry import recipe
from workloads.sharing import PrefixProfile


@dataclass(frozen=True)
class Tool:
    """share: of first requests. next_turn: the probability of a follow-up."""

    share: float
    system_tokens: int
    input: Law
    output: Law
    next_turn: float


# The three trees of the first 1,000 requests of Mooncake's toolagent trace (kvcache-ai/Mooncake, Apache-2.0): share,
# length of the prefix that most have in common, and lengths beyond it.
TOOLS = (
    Tool(
        share=0.44,
        system_tokens=512,
        input=Mixture((LogNormal(500.0, 0.5), LogNormal(9_500.0, 0.85)), (0.15, 0.85)),
        output=LogNormal(330.0, 0.65),
        next_turn=0.175,  # 85 of 486 continue an earlier one
    ),
    Tool(
        share=0.393,
        system_tokens=6144,
        input=Mixture((LogNormal(25.0, 0.3), LogNormal(750.0, 0.5)), (0.3, 0.7)),
        output=Mixture((LogNormal(2.8, 0.05), LogNormal(27.0, 0.3)), (0.6, 0.4)),
        next_turn=0.0,
    ),
    Tool(
        share=0.167,
        system_tokens=2560,
        input=LogNormal(715.0, 0.42),
        output=LogNormal(20.0, 0.14),
        next_turn=0.0,
    ),
)
BETWEEN_S = LogNormal(30.0, 0.8)  # illustrative; the trace covers three minutes and tells no more


@recipe("toolagent", "agents and tools: three system prompts of 0.5 to 6 thousand tokens, mostly one turn")
def toolagent(rate_per_s: float = 5.6) -> list[Client]:
    """One client a tool."""
    turns = [NextTurn((tool.next_turn,)) for tool in TOOLS]
    mean_turns = sum(tool.share * law.mean() for tool, law in zip(TOOLS, turns, strict=True))
    return [
        Client.build(
            number,
            Arrivals.build([rate_per_s / mean_turns * tool.share]),
            Lengths(tool.input, tool.output),
            conversation=Conversation(law, BETWEEN_S),
            prefixes=PrefixProfile(number, tool.system_tokens),
        )
        for number, (tool, law) in enumerate(zip(TOOLS, turns, strict=True))
    ]
