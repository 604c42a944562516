"""The KV blocks of one instance: in use, idle cached, or blank."""

from collections.abc import Sequence

from .eviction import Eviction
from .request import Identity
from .tiers import HostMemory


class BlockPool:
    """Block ids 1..num_blocks-1 (0 is the reserved one), each in exactly one state:

    * in use: `references[block] > 0`, counting the requests that use it and those that keep it;
    * idle cached: nobody uses it, its content can be hit; `eviction` says which of them is forgotten next;
    * blank: in `blank`.

    `cached` finds the block that holds some content and `content` is its inverse; a private copy is in
    neither. What is evicted goes to `host`, and leaves it when it comes back.
    """

    def __init__(self, num_blocks: int, prefix_caching: bool, eviction: Eviction, host: HostMemory) -> None:
        self.usable_blocks = num_blocks - 1
        self.prefix_caching = prefix_caching
        self.eviction = eviction
        self.host = host
        self.references = [0] * num_blocks
        self.blank = list(range(1, num_blocks))
        self.cached: dict[Identity, int] = {}
        self.content: dict[int, Identity] = {}

    @property
    def free_blocks(self) -> int:
        return len(self.blank) + len(self.eviction.idle)

    @property
    def blocks_in_use(self) -> int:
        return self.usable_blocks - self.free_blocks

    def look_up(self, identities: Sequence[Identity]) -> list[int]:
        """The cached blocks of the leading identities, up to the first that is not cached."""
        blocks = []
        for identity in identities:
            if identity not in self.cached:
                break
            blocks.append(self.cached[identity])
        return blocks

    def count_idle(self, blocks: Sequence[int]) -> int:
        return sum(self.is_idle(block) for block in blocks)

    def take(self, block: int) -> None:
        """Use or keep a cached block."""
        if self.is_idle(block):
            self.eviction.claim(self.content[block])
        self.references[block] += 1

    def is_idle(self, block: int) -> bool:
        return self.content.get(block) in self.eviction.idle

    def allocate(self, count: int) -> list[int]:
        """Take `count` free blocks, blank ones first, then idle ones as the eviction policy has it."""
        return [self._allocate_one() for _ in range(count)]

    def _allocate_one(self) -> int:
        if self.blank:
            block = self.blank.pop()
        else:
            victim = self.eviction.forget_one()
            block = self.cached.pop(victim)
            del self.content[block]
            self.host.write(victim)
        self.references[block] = 1
        return block

    def cache(self, block: int, identity: Identity, before: Identity | None) -> int | None:
        """Enter the content of a block that is being filled, which continues that of the block `before`.

        Returns the block to keep when a block in use holds this content already (`block` then is a private
        copy), None otherwise.
        """
        if not self.prefix_caching:
            return None
        holder = self.cached.get(identity)
        if holder is None:
            self.host.drop(identity)
            self.eviction.come_in(identity, before)
        elif self.references[holder] > 0:
            self.take(holder)
            return holder
        else:
            self.eviction.claim(identity)
            del self.content[holder]
            self.blank.append(holder)
        self.cached[identity] = block
        self.content[block] = identity
        return None

    def release(self, block: int) -> None:
        """End one use or keeping of a block; the last one makes it idle, or blank when it is not cached."""
        self.references[block] -= 1
        if self.references[block] > 0:
            return
        if block in self.content:
            self.eviction.fall_idle(self.content[block])
        else:
            self.blank.append(block)
