"""Proposals that go on in several ways, as a tree of which the model verifies all ways in one step (Lookahead, arXiv
2312.12728; which of its nodes are worth a place as in SpecInfer, arXiv 2305.09781, by how likely each is)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from turnout.engines.paged.tree import Tree

KINDS = 3
"""Proposals are told apart by how many tokens agreed before them: 1, 2, or as many as this; and once more by whether
another proposal for the same place comes before them."""


@dataclass(frozen=True, slots=True)
class Node:
    """One proposed token.

    Attributes:
        parent: place of the node that it follows; -1 for the last token that was written.
        kind: see KINDS.
        chance: that it comes true.
    """

    token: int
    parent: int
    kind: int
    chance: float


class Trie:
    """Nodes, parents before their children, and those of an earlier way first."""

    def __init__(self, nodes: Sequence[Node] = ()) -> None:
        self.nodes = nodes
        self._children: dict[int, list[int]] = {}
        for place, node in enumerate(nodes):
            self._children.setdefault(node.parent, []).append(place)

    def __len__(self) -> int:
        return len(self.nodes)

    @classmethod
    def of(cls, ways: Iterable[tuple[Sequence[int], int]], rate: Callable[[int], float]) -> Trie:
        """Ways that begin alike as one, the first way first.

        Args:
            ways: (tokens, how many tokens agreed before them).
            rate: how often a proposal of a kind comes true, if what it follows did and what comes before it did not.
        """
        nodes: list[Node] = []
        places: dict[tuple[int, int], int] = {}
        left: dict[int, float] = {}  # that a token is reached, and goes on in no way that is proposed so far
        for tokens, matched in ways:
            at = -1
            for token in tokens:
                if (at, token) not in places:
                    kind = min(matched, KINDS) + (KINDS if at in left else 0)
                    rest = left.get(at, nodes[at].chance if at >= 0 else 1.0)
                    chance = rest * rate(kind)
                    left[at] = rest - chance
                    places[at, token] = len(nodes)
                    nodes.append(Node(token, at, kind, chance))
                at = places[at, token]
        return cls(nodes)

    def chances(self) -> list[float]:
        """Of all nodes, the highest first."""
        return sorted((node.chance for node in self.nodes), reverse=True)

    def likeliest(self, count: int) -> Trie:
        """So many nodes. No node is likelier than what it follows, so that comes with it."""
        by_chance = sorted(range(len(self.nodes)), key=lambda place: -self.nodes[place].chance)
        kept = sorted(by_chance[:count])
        moved = {-1: -1} | {old: new for new, old in enumerate(kept)}
        return Trie([_follows(self.nodes[place], moved) for place in kept])

    def children(self, place: int) -> Sequence[int]:
        """What is proposed after a node; after the last token that was written for -1."""
        return self._children.get(place, ())

    def after(self, token: int) -> Sequence[int]:
        """The nodes' tokens after the one that was written last; a `Tree` where they go on in several ways."""
        ids = [token, *(node.token for node in self.nodes)]
        if all(len(children) == 1 for children in self._children.values()):
            return ids
        return Tree(ids, [-1, *(node.parent + 1 for node in self.nodes)])


def _follows(node: Node, moved: dict[int, int]) -> Node:
    return Node(node.token, moved[node.parent], node.kind, node.chance)


class Walk:
    """From proposal to proposal, as the model writes.

    Attributes:
        places: of the nodes that came true.
        outcomes: kind -> (right, wrong) of what was proposed for tokens that the model wrote.
        is_refused: it wrote something else than was proposed.
    """

    def __init__(self, trie: Trie) -> None:
        self._trie = trie
        self.places: list[int] = []
        self.outcomes: dict[int, tuple[int, int]] = {}
        self.is_refused = False

    def goes_on(self, token: int) -> bool:
        """Whether a token that was picked was proposed."""
        children = self._trie.children(self.places[-1] if self.places else -1)
        for place in children:
            node = self._trie.nodes[place]
            is_right = node.token == token
            right, wrong = self.outcomes.get(node.kind, (0, 0))
            self.outcomes[node.kind] = right + is_right, wrong + (not is_right)
            if is_right:
                self.places.append(place)
                return True
        self.is_refused = bool(children)
        return False
