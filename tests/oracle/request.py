"""A request: what the workload says of it, its state on the way, and what becomes of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field

Identity = tuple[int, int]
"""What a full block holds: (row that owns the block's last token, index of the block in the sequence)."""


@dataclass(frozen=True)
class Row:
    """One row of a workload. `arrival_ps` is ignored for a follow-up (`parent >= 0`)."""

    arrival_ps: int
    input_tokens: int
    output_tokens: int
    priority: int = 0
    parent: int = -1
    think_ps: int = 0
    prefix_request: int = -1
    prefix_tokens: int = 0
    reuse_class: int = 0
    itl_class: int = 0


@dataclass
class Outcome:
    """What became of one request; -1 for what never happened."""

    arrival_ps: int = -1
    instance: int = -1
    hit_tokens: int = -1
    preemptions: int = 0
    first_scheduled_ps: int = -1
    first_token_ps: int = -1
    finish_ps: int = -1
    host_hit_tokens: int = 0
    pool_hit_tokens: int = 0
    rejected: bool = False


@dataclass(eq=False)
class Request:
    """A request on its way through the cluster.

    `blocks[i]` is the KV block at position `i` of its sequence. `kept[i]` is the block of somebody else that
    holds the same content as the private copy `blocks[i]`. `joined_ps` is when it last joined a waiting queue.
    """

    id: int
    row: Row
    identities: list[Identity]
    outcome: Outcome = field(default_factory=Outcome)
    generated: int = 0
    computed: int = 0
    in_prefill: bool = False
    estimate: int = 0
    joined_ps: int = 0
    blocks: list[int] = field(default_factory=list)
    kept: dict[int, int] = field(default_factory=dict)

    @property
    def known(self) -> int:
        return self.row.input_tokens + self.generated

    def restart(self) -> None:
        """Forget everything an instance did for the request, which failed; arrival and preemptions stay."""
        self.generated = self.computed = self.estimate = 0
        self.in_prefill = False
        self.blocks = []
        self.kept = {}
        self.outcome = Outcome(arrival_ps=self.outcome.arrival_ps, preemptions=self.outcome.preemptions)


def make_requests(rows: Sequence[Row], block_size: int) -> list[Request]:
    """One Request a row, with the identities of all full blocks of its sequence (prompt, then output).

    Why (owner of the last token, block index) stands for the whole chain of tokens: walk from row `r` to its
    `prefix_request` while the position is below `prefix_tokens`; the row where the walk stops owns the token.
    Each hop keeps every token up to that position, so the chain up to position `p` in `r` is the chain up to
    `p` in the owner of `p`: equal identities mean equal chains. Conversely an owner's token occurs in no
    earlier row, and later rows have it only by such a walk, so equal chains end in the same owner and
    position: equal identities.

    Blocks that lie wholly within the first `prefix_tokens` tokens therefore are those of `prefix_request`;
    the last token of every other block, the straddling one included, belongs to the row itself.
    """
    requests: list[Request] = []
    for index, row in enumerate(rows):
        _check_row(index, row, rows)
        shared_blocks = row.prefix_tokens // block_size
        full_blocks = (row.input_tokens + row.output_tokens) // block_size
        shared = requests[row.prefix_request].identities[:shared_blocks] if shared_blocks else []
        own = [(index, block) for block in range(shared_blocks, full_blocks)]
        requests.append(Request(index, row, shared + own))
    return requests


def _check_row(index: int, row: Row, rows: Sequence[Row]) -> None:
    """Raise ValueError for a row that describes no request."""
    where = f"rows[{index}]"
    for name, least in (("input_tokens", 1), ("output_tokens", 1), ("arrival_ps", 0), ("think_ps", 0)):
        if getattr(row, name) < least:
            raise ValueError(f"{where}.{name}: {getattr(row, name)} is below {least}; raise it")
    for name in ("parent", "prefix_request"):
        earlier = getattr(row, name)
        if not -1 <= earlier < index:
            raise ValueError(f"{where}.{name}: {earlier} is no earlier row; use one, or -1 for none")
    longest = 0
    if row.prefix_request >= 0:
        source = rows[row.prefix_request]
        longest = min(row.input_tokens, source.input_tokens + source.output_tokens)
    if not 0 <= row.prefix_tokens <= longest:
        raise ValueError(
            f"{where}.prefix_tokens: {row.prefix_tokens} is not within the prompt and the sequence "
            f"of row {row.prefix_request}; use 0..{longest}"
        )
