"""FORMATS: every format that can be read. The one place; docs/knowledge.md lists it, and the API shows it.

Plain data, for the router as well: which function reads a family is known to the child alone (`child.py`).
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Format:
    name: str  # for people
    reader: str  # a key of child.READERS
    extensions: tuple[str, ...]  # lower case, without the dot; the first is the usual one
    media_types: tuple[str, ...]  # the first is what Parsed.content_type says
    needs: str = ""  # the package without which it cannot be read


OOXML = "application/vnd.openxmlformats-officedocument."
ODF = "application/vnd.oasis.opendocument."

# fmt: off
CODE_EXTENSIONS = (
    "py", "js", "mjs", "cjs", "jsx", "ts", "tsx", "java", "kt", "scala", "c", "h", "cc", "cpp", "cxx", "hpp", "cs",
    "go", "rs", "rb", "php", "pl", "lua", "r", "jl", "swift", "dart", "hs", "ml", "ex", "exs", "erl", "clj", "lisp",
    "el", "f90", "pas", "asm", "sh", "bash", "zsh", "fish", "ps1", "bat", "sql", "css", "scss", "less", "vue",
    "svelte", "proto", "graphql", "cmake", "gradle", "tf", "dockerfile", "makefile", "diff", "patch",
)
# fmt: on
FORMATS = (
    Format("Plain text", "text", ("txt", "text", "log"), ("text/plain",)),
    Format("Markdown", "markdown", ("md", "markdown", "mdown", "mkd"), ("text/markdown", "text/x-markdown")),
    Format("reStructuredText", "rst", ("rst", "rest"), ("text/x-rst", "text/prs.fallenstein.rst")),
    Format("HTML", "html", ("html", "htm", "xhtml"), ("text/html", "application/xhtml+xml")),
    Format("Comma-separated values", "csv", ("csv",), ("text/csv", "application/csv")),
    Format("Tab-separated values", "csv", ("tsv", "tab"), ("text/tab-separated-values",)),
    Format("JSON", "json", ("json", "geojson"), ("application/json", "application/geo+json")),
    Format("JSON lines", "jsonl", ("jsonl", "ndjson"), ("application/jsonl", "application/x-ndjson")),
    Format("XML", "xml", ("xml",), ("application/xml", "text/xml")),
    Format("YAML", "code", ("yaml", "yml"), ("application/yaml", "text/yaml", "application/x-yaml")),
    Format("TOML", "code", ("toml",), ("application/toml",)),
    Format("Settings", "code", ("ini", "cfg", "conf", "properties", "env"), ("text/x-ini",)),
    Format("Source code", "code", CODE_EXTENSIONS, ("text/x-source", "text/javascript", "text/x-python", "text/css")),
    Format("Rich Text Format", "rtf", ("rtf",), ("application/rtf", "text/rtf")),
    Format("Word document", "docx", ("docx", "docm", "dotx"), (f"{OOXML}wordprocessingml.document",)),
    Format("PowerPoint slides", "pptx", ("pptx", "pptm", "ppsx"), (f"{OOXML}presentationml.presentation",)),
    Format("Excel workbook", "xlsx", ("xlsx", "xlsm", "xltx"), (f"{OOXML}spreadsheetml.sheet",)),
    Format("OpenDocument text", "odt", ("odt", "ott"), (f"{ODF}text", f"{ODF}text-template")),
    Format("OpenDocument spreadsheet", "ods", ("ods", "ots"), (f"{ODF}spreadsheet", f"{ODF}spreadsheet-template")),
    Format("OpenDocument slides", "odp", ("odp", "otp"), (f"{ODF}presentation", f"{ODF}presentation-template")),
    Format("E-book", "epub", ("epub",), ("application/epub+zip",)),
    Format("PDF", "pdf", ("pdf",), ("application/pdf", "application/x-pdf"), needs="pypdf"),
)
BY_EXTENSION = {extension: form for form in FORMATS for extension in form.extensions}
BY_MEDIA_TYPE = {media_type: form for form in FORMATS for media_type in form.media_types}
BY_READER = {form.reader: form for form in reversed(FORMATS)}  # the first of those with one reader


def extension_of(name: str) -> str:
    """Of a file name, lower case, without the dot; a name without one (Makefile) is its own extension."""
    return name.replace("\\", "/").rpartition("/")[2].lower().strip().rpartition(".")[2]


def is_readable(name: str) -> bool:
    """Whether a file of that name is one of FORMATS."""
    return extension_of(name) in BY_EXTENSION


def is_text(name: str) -> bool:
    """Whether its extension is that of a format which is text."""
    form = BY_EXTENSION.get(extension_of(name))
    return form is not None and form.media_types[0].startswith(("text/", "application/json", "application/xml"))
