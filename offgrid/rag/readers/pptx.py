"""PowerPoint slides: a slide is a page, its title a heading, its notes a paragraph. Charts and drawings made of parts
(SmartArt) keep their texts elsewhere, and are not read.
"""

from offgrid.rag.readers import opc
from offgrid.rag.readers.draft import Draft, Source
from offgrid.rag.readers.flow import Flow
from offgrid.rag.readers.markup import END, START, TEXT, events, without
from offgrid.rag.readers.zipped import Archive

TITLES = {"title", "ctrTitle"}
FURNITURE = {"sldNum", "dt", "ftr", "hdr"}  # the same on each slide


def read_pptx(source: Source, draft: Draft) -> None:
    archive = Archive(source.file)
    main = opc.main_part(archive)
    opc.note_properties(archive, draft)
    named = opc.relations(archive, main)
    ids = [
        attributes.get("r:id", "")
        for kind, name, attributes in events(archive.read(main), main)
        if kind == START and name == "sldId"
    ]
    slides = [named[id][1] for id in ids if id in named]
    draft.n_pages = len(slides)
    flow = Flow(draft)
    for number, slide in enumerate(slides, 1):
        draft.page = number
        _add_shapes(archive, slide, flow)
        for kind, member in opc.relations(archive, slide).values():
            if kind == "notesSlide" and member in archive:
                _add_shapes(archive, member, flow, is_notes=True)
        flow.finish()


def _add_shapes(archive: Archive, part: str, flow: Flow, *, is_notes: bool = False) -> None:
    role, lines, words, is_text = "", [], [], False
    for kind, name, attributes in without(events(archive.read(part), part), {"Fallback"}):
        if kind == TEXT:
            if is_text:
                words.append(name)
        elif kind == START:
            is_text = name == "t"
            if name == "sp":
                role, lines = "", []
            elif name == "ph":
                role = attributes.get("type", "body")
            elif name == "br":
                words.append("\n")
            elif name == "tbl":
                flow.open_table()
        elif kind == END:
            is_text = False
            if name == "p":
                lines.append("".join(words).strip())
                words = []
            elif name == "tc":
                flow.put("paragraph", " ".join(lines))
                flow.close_cell()
                lines = []
            elif name == "tr":
                flow.close_row()
            elif name == "tbl":
                flow.close_table()
            elif name == "sp":
                _put(flow, role, [line for line in lines if line], is_notes)
                lines = []


def _put(flow: Flow, role: str, lines: list[str], is_notes: bool) -> None:
    if not lines or role in FURNITURE:
        return
    if is_notes:
        if role == "body":
            flow.put("paragraph", "Notes: " + "\n".join(lines))
    elif role in TITLES:
        flow.put("heading", " ".join(" ".join(lines).split()), 1)
    elif role == "subTitle" or len(lines) == 1:
        flow.put("paragraph", "\n".join(lines))
    else:
        flow.put("list", "\n".join(lines))
