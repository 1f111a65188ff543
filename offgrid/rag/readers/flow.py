"""Flow: paragraphs, lists and tables as documents nest them, into the blocks of a draft, which do not nest.

Items of a list that follow each other are one block, a line each. A table is one block, a row a line, its cells joined
by CELL_GAP; what stands in a cell, another table too, is on that line.
"""

from offgrid.rag.readers.draft import Draft

CELL_GAP = " | "
MAX_INDENT = 8  # of a list: levels that are shown


class Flow:
    def __init__(self, draft: Draft):
        self._draft = draft
        self._items: list[str] = []
        self._items_page: int | None = None
        self._rows: list[str] = []
        self._rows_page: int | None = None
        self._cells: list[str] = []
        self._cell: list[str] = []
        self._n_row_chars = self._n_table_chars = 0  # of the open row, and of the rows before it
        self._is_cell_open = False
        self._n_tables = 0  # open ones, one in another

    @property
    def is_in_table(self) -> bool:
        return self._n_tables > 0

    def put(self, kind: str, text: str, level: int = 0) -> None:
        """A paragraph, a heading, code; where a table is open, a part of its cell."""
        if self.is_in_table:
            self._cell += text.split()
            return
        self.flush()
        self._draft.add(kind, text, level)

    def put_item(self, text: str, depth: int = 1, mark: str = "-") -> None:
        """An item of a list; without a mark, what goes on in the item before."""
        if self.is_in_table:
            self._cell += text.split()
        elif text.strip():
            if not self._items:
                self._items_page = self._draft.page
            indent = "  " * (min(depth, MAX_INDENT) - 1)
            self._items.append(f"{indent}{mark + ' ' if mark else '  '}{' '.join(text.split())}")

    def open_table(self) -> None:
        if not self.is_in_table:
            self.flush()
            self._rows_page = self._draft.page
        self._n_tables += 1

    def open_cell(self) -> None:
        if self._n_tables == 1:
            self._close_open_cell()
            self._is_cell_open = True

    def close_cell(self, n_times: int = 1) -> None:
        if self._n_tables == 1:
            text = " ".join(self._cell)
            self._n_row_chars += n_times * (len(text) + len(CELL_GAP))
            self._draft.check_room(self._n_row_chars)
            self._cells += [text] * n_times
            self._cell = []
            self._is_cell_open = False

    def close_row(self, n_times: int = 1) -> None:
        if self._n_tables != 1:
            return
        self._close_open_cell()
        if any(self._cells):
            row = CELL_GAP.join(self._cells).rstrip(" |")
            self._n_table_chars += n_times * (len(row) + 1)
            self._draft.check_room(self._n_table_chars)
            self._rows += [row] * n_times
        self._cells, self._n_row_chars = [], 0

    def close_table(self) -> None:
        self.close_row()
        self._n_tables = max(self._n_tables - 1, 0)
        if not self.is_in_table:
            rows, self._rows, self._n_table_chars = self._rows, [], 0
            self._add_on(self._rows_page, "table", rows)

    def flush(self) -> None:
        """The list that was being gathered becomes a block."""
        items, self._items = self._items, []
        self._add_on(self._items_page, "list", items)

    def finish(self) -> None:
        """What is open becomes blocks."""
        while self.is_in_table:
            self.close_table()
        self.flush()

    def _close_open_cell(self) -> None:
        """A cell that nobody closed, or text beside the cells."""
        if self._is_cell_open or self._cell:
            self.close_cell()

    def _add_on(self, page: int | None, kind: str, lines: list[str]) -> None:
        """To the draft, under the page where it began."""
        if lines:
            now, self._draft.page = self._draft.page, page
            self._draft.add(kind, "\n".join(lines))
            self._draft.page = now
