"""A radix tree over token sequences: who has the longest beginning in common with a new prompt?

Pure: keeps holders (any objects) under their token sequences, and knows nothing of cells or models.
Must stay true (`check`): a node other than the root has holders or at least two children.
"""

from collections.abc import Iterator


class _Node:
    __slots__ = ("children", "depth", "edge", "holders", "parent")

    def __init__(self, parent: "_Node | None", edge: list[int]):
        self.parent = parent
        self.edge = edge  # the tokens between the parent and this node
        self.depth = (parent.depth if parent else 0) + len(edge)
        self.children: dict[int, _Node] = {}  # first token of the edge → child
        self.holders: list = []  # whose sequences end here


class PrefixTree:
    def __init__(self):
        self._root = _Node(None, [])
        self._node_of: dict[int, _Node] = {}  # id(holder) → where its sequence ends

    def __len__(self) -> int:
        return len(self._node_of)

    def __contains__(self, holder) -> bool:
        return id(holder) in self._node_of

    def add(self, tokens: list[int], holder) -> None:
        """Keep `holder`, which must not be in the tree, under `tokens`."""
        assert holder not in self, "added twice"
        node, child, n_common = self._descend(tokens)
        if child is not None:
            node = _split(child, n_common)
        if node.depth < len(tokens):
            leaf = _Node(node, tokens[node.depth :])
            node.children[leaf.edge[0]] = leaf
            node = leaf
        node.holders.append(holder)
        self._node_of[id(holder)] = node

    def remove(self, holder) -> None:
        node = self._node_of.pop(id(holder))
        node.holders.remove(holder)
        while node.parent and not node.holders and len(node.children) < 2:
            parent = node.parent
            if node.children:
                _join(node)
            else:
                del parent.children[node.edge[0]]
            node = parent

    def matches(self, tokens: list[int]) -> Iterator[tuple[object, int]]:
        """(holder, tokens in common) for all who have any, most in common first. The tree must not change meanwhile."""
        node, child, n_common = self._descend(tokens)
        seen = None
        if child is not None:
            yield from ((holder, node.depth + n_common) for holder in _below(child))
            seen = child
        while node is not None and node.depth:
            yield from ((holder, node.depth) for holder in node.holders)
            for other in node.children.values():
                if other is not seen:
                    yield from ((holder, node.depth) for holder in _below(other))
            node, seen = node.parent, node

    def prefixes(self, tokens: list[int]) -> list:
        """The holders whose whole sequence begins `tokens`, or is it."""
        node, _, _ = self._descend(tokens)
        found = []
        while node is not None:
            found += node.holders
            node = node.parent
        return found

    def _descend(self, tokens: list[int]) -> tuple[_Node, _Node | None, int]:
        """The deepest node that begins `tokens`, and, if any, the child that goes on for n ≥ 1 tokens but not all."""
        node = self._root
        while node.depth < len(tokens):
            child = node.children.get(tokens[node.depth])
            if child is None:
                break
            n_common = common_length(child.edge, tokens[node.depth : child.depth])
            if n_common < len(child.edge):
                return node, child, n_common
            node = child
        return node, None, 0

    def check(self) -> None:
        """Raise AssertionError when the tree is not in order."""
        nodes = list(_nodes(self._root))
        assert sum(len(n.holders) for n in nodes) == len(self._node_of), "holders are lost"
        for node in nodes:
            assert node is self._root or node.holders or len(node.children) > 1, "a node that nobody needs"
            assert all(c.parent is node and c.edge[0] == first for first, c in node.children.items()), "a wrong child"


def common_length(a: list[int], b: list[int]) -> int:
    """How many tokens two lists have in common from their beginnings on."""
    n = min(len(a), len(b))
    if a[:n] == b[:n]:  # at C speed, and the usual case in a tree
        return n
    low, high = 0, n  # a[:low] == b[:low], a[:high] != b[:high]
    while high - low > 1:
        middle = (low + high) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle
    return low


def _split(node: _Node, n: int) -> _Node:
    """A new node `n` tokens down the edge that leads to `node`."""
    parent = node.parent
    upper = _Node(parent, node.edge[:n])
    parent.children[upper.edge[0]] = upper
    node.parent, node.edge = upper, node.edge[n:]
    upper.children[node.edge[0]] = node
    return upper


def _join(node: _Node) -> None:
    """Take out a node without holders and with one child."""
    (child,) = node.children.values()
    child.parent, child.edge = node.parent, node.edge + child.edge
    node.parent.children[child.edge[0]] = child


def _nodes(root: _Node) -> Iterator[_Node]:
    stack = [root]
    while stack:
        node = stack.pop()
        yield node
        stack += node.children.values()


def _below(node: _Node) -> Iterator:
    for n in _nodes(node):
        yield from n.holders
