"""What lies below the cache on the GPU: host memory beside each instance, and a pool for the whole cluster."""

from collections import OrderedDict
from collections.abc import Sequence
from itertools import takewhile

from .request import Identity


class HostMemory:
    """Blocks that one instance's GPU has evicted, in order of arrival: the oldest is forgotten first."""

    def __init__(self, capacity_blocks: int) -> None:
        self.capacity_blocks = capacity_blocks
        self.blocks: OrderedDict[Identity, None] = OrderedDict()
        self.written_blocks = 0
        self.loaded_blocks = 0

    def write(self, identity: Identity) -> None:
        """A block that the GPU has just evicted."""
        if self.capacity_blocks == 0:
            return
        self.written_blocks += 1
        self.blocks[identity] = None
        if len(self.blocks) > self.capacity_blocks:
            self.blocks.popitem(last=False)

    def drop(self, identity: Identity) -> None:
        """This content enters the GPU's cache."""
        self.blocks.pop(identity, None)

    def look_up(self, identities: Sequence[Identity]) -> list[Identity]:
        """The leading ones that are here."""
        return list(takewhile(self.blocks.__contains__, identities))


class Pool:
    """What all instances together have stored, the least recently stored first."""

    def __init__(self, capacity_blocks: int) -> None:
        self.capacity_blocks = capacity_blocks
        self.blocks: OrderedDict[Identity, None] = OrderedDict()
        self.written_blocks = 0
        self.loaded_blocks = 0

    def store(self, identities: Sequence[Identity]) -> None:
        """The leading blocks of a sequence, as many as the pool can hold."""
        for identity in reversed(identities[: self.capacity_blocks]):
            self.written_blocks += identity not in self.blocks
            self.blocks[identity] = None
            self.blocks.move_to_end(identity)
        while len(self.blocks) > self.capacity_blocks:
            self.blocks.popitem(last=False)

    def look_up(self, identities: Sequence[Identity]) -> list[Identity]:
        """The leading ones that are here."""
        return list(takewhile(self.blocks.__contains__, identities))
