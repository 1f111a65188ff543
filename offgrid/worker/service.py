"""What a loaded model does with each frame from the router: chat models generate, embedding models embed.

A service has `loop` (what the model's thread runs), `facts` (for the router, once) and `take(message)`, which the main
thread calls.
Message kinds, router → worker: {"op": "generate", "id", …GenerateRequest}, {"op": "embed", "id", "texts"},
{"op": "tokenize", "id", …TokenizeRequest}, {"op": "detokenize", "id", "tokens"},
{"op": "render", "id", …RenderRequest}, {"op": "count", "id", …CountRequest}, {"op": "lengths", "id", "texts"},
{"op": "cancel", "id"}, {"op": "threads", "n"}.
What is about text alone is answered at once, beside the loop.
"""

import sys
import time
import traceback
from pathlib import Path

from offgrid.worker import library
from offgrid.worker.channel import Channel
from offgrid.worker.embedder import MAX_TEXTS, Embedder, EmbedJob
from offgrid.worker.engine import Engine
from offgrid.worker.fingerprint import fingerprint
from offgrid.worker.intake import Intake
from offgrid.worker.kv_cache import KvCache
from offgrid.worker.library import L
from offgrid.worker.model import LoadFailed as LoadFailed
from offgrid.worker.model import Model, ModelSettings
from offgrid.worker.pace import Pace
from offgrid.worker.prefix_cache import PrefixCache
from offgrid.worker.prefix_files import PrefixFiles
from offgrid.worker.prepare import Preparer
from offgrid.worker.refused import Refused
from offgrid.worker.scheduler import Scheduler
from offgrid.worker.sequence import Sequence
from offgrid.worker.speculation import Speculation
from offgrid.worker.template import ChatTemplate
from offgrid.worker.text import without_accents
from offgrid.worker.tokens import pieces_of, text_of


def load(message: dict, channel: Channel) -> "Service":
    """Load the model that the router's first frame (a ModelSettings) names. Raises LoadFailed."""
    library.set_up()
    settings = ModelSettings(**message)
    on_progress = Progress(channel).report
    if settings.kind == "embedding":
        return EmbeddingService(Model(settings, n_seq_max=MAX_TEXTS, embeddings=True, on_progress=on_progress), channel)
    # And a scratch id.
    return ChatService(Model(settings, n_seq_max=settings.n_parallel + 1, on_progress=on_progress), channel)


class Progress:
    """Tells the router how far the loading is, at most ten times a second."""

    def __init__(self, channel: Channel):
        self._channel = channel
        self._next = 0.0

    def report(self, fraction: float) -> None:
        now = time.monotonic()
        if now >= self._next or fraction >= 1:
            self._next = now + 0.1
            self._channel.send({"op": "loading", "fraction": round(fraction, 3)})


class Service:
    """What both kinds have in common. `op` is the request that a kind takes, `loop` what the model's thread runs."""

    op: str
    loop: Engine | Embedder

    def __init__(self, model: Model, channel: Channel, n_limit: int):
        """`n_limit`: the most tokens of one sequence."""
        self.model = model
        self.channel = channel
        self.n_limit = n_limit
        bos, eos = (model.token_text(token_of(model.vocab)) for token_of in (L.llama_vocab_bos, L.llama_vocab_eos))
        self.facts = {"n_ctx": model.n_ctx, "n_limit": n_limit, "bos_token": bos, "eos_token": eos}

    def take(self, message: dict) -> None:
        try:
            self._take(message)
        except Refused as refusal:
            self.channel.refuse(message["id"], refusal.error)
        except Exception:
            if message["op"] in ("cancel", "threads"):
                raise
            # What is prepared belongs to the one request; the process, with everybody's text, outlives a mistake in it.
            traceback.print_exc()
            self.channel.refuse(message["id"], {"kind": "internal", "message": "The request could not be prepared."})

    def _take(self, message: dict) -> None:
        match message["op"]:
            case self.op:
                self.submit(self.prepare(message))
            case "tokenize":
                specials = {name: message[name] for name in ("add_special", "parse_special")}
                tokens = self.tokenize(message["text"], **specials)
                pieces = pieces_of(self.model, tokens) if message["with_pieces"] else {}
                self.channel.tokens(message["id"], tokens, pieces)
            case "detokenize":
                self.channel.text(message["id"], text_of(self.model, message["tokens"]))
            case "render":
                self.channel.text(message["id"], self.render(message))
            case "count":
                self.channel.count(message["id"], self.count(message))
            case "lengths":
                bare = {"add_special": False, "parse_special": False}
                lengths = [len(self.tokenize(text, **bare)) for text in message["texts"]]
                self.channel.lengths(message["id"], lengths, self.n_limit)
            case "cancel":
                self.cancel(message["id"])
            case "threads":
                self.loop.set_threads(message["n"])

    def submit(self, work: Sequence | EmbedJob) -> None:
        self.loop.submit(work)

    def cancel(self, id: int) -> None:
        self.loop.cancel(id)

    def prepare(self, message: dict) -> Sequence | EmbedJob:
        """What the loop is given for a request. Raises Refused."""
        raise NotImplementedError

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        """The tokens of a text as this kind of model is given it."""
        return self.model.tokenize(text, add_special=add_special, parse_special=parse_special)

    def render(self, message: dict) -> str:
        """The prompt for a conversation. Raises Refused."""
        raise Refused(kind="bad_request", message="This model has no conversations.", param="model")

    def count(self, message: dict) -> int:
        """The tokens of a prompt. Raises Refused."""
        raise Refused(kind="bad_request", message="This model has no prompts.", param="model")


class ChatService(Service):
    op = "generate"

    def __init__(self, model: Model, channel: Channel):
        super().__init__(model, channel, min(model.n_ctx, model.n_ctx_train or model.n_ctx))
        settings = model.settings
        bos = self.facts["bos_token"]
        in_file = L.llama_model_chat_template(model.model, None)
        template = settings.chat_template or (in_file.decode("utf-8", "replace") if in_file else None)
        # A memory that cannot be cut could not forget what was drafted in vain.
        can_draft = settings.speculation == "auto" and not model.is_whole
        chat_template = ChatTemplate(template, bos=bos, eos=self.facts["eos_token"])
        self.facts |= {"chat_template": chat_template.source, "can_draft": can_draft}
        self.preparer = Preparer(model, chat_template, self.n_limit, bos, can_draft=can_draft)
        kv = KvCache(model, settings.n_parallel, model.n_ctx)
        files = _prefix_files(model)
        cache = PrefixCache(kv, hot_cells=settings.hot_cells, warm_bytes=settings.warm_bytes, files=files)
        pace = Pace(settings.step_target_ms, model.n_batch)
        speculation = Speculation(min(model.n_batch, model.n_outputs_max), pace) if can_draft else None
        self.loop = Engine(model, Scheduler(settings.n_parallel, kv, cache, pace, speculation), channel)
        self.intake = Intake(files, cache, self.loop) if files else self.loop

    def prepare(self, message: dict) -> Sequence:
        return self.preparer.sequence(message)

    def render(self, message: dict) -> str:
        return self.preparer.prompt(message)

    def count(self, message: dict) -> int:
        return self.preparer.count(message)

    def submit(self, work: Sequence) -> None:
        self.intake.submit(work)

    def cancel(self, id: int) -> None:
        self.intake.cancel(id)


def _prefix_files(model: Model) -> PrefixFiles | None:
    """The folder of saved prefixes; None when there is to be none, or it cannot be used."""
    settings = model.settings
    if not settings.cold_bytes:
        return None
    try:
        return PrefixFiles(
            Path(settings.cache_dir),
            fingerprint(model),
            max_bytes=settings.cold_bytes,
            max_state_bytes=settings.warm_bytes // 2,  # they pass through that memory
            max_tokens=model.n_ctx,
            shortest_cut=model.shortest_cut,
        )
    except OSError as error:
        print(f"Prompts are not saved in {settings.cache_dir}: {error.strerror}.", file=sys.stderr, flush=True)
        return None


class EmbeddingService(Service):
    op = "embed"

    def __init__(self, model: Model, channel: Channel):
        # More tokens than a batch, or a position past the trained context, would abort the process.
        super().__init__(model, channel, min(model.n_batch, model.n_ctx_train or model.n_batch))
        self.loop = Embedder(model, channel)

    def prepare(self, message: dict) -> EmbedJob:
        return EmbedJob(message["id"], [self._tokens(text) for text in message["texts"]])

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        if self.model.settings.strip_accents:
            text = without_accents(text)
        return super().tokenize(text, add_special=add_special, parse_special=parse_special)

    def _tokens(self, text: str) -> list[int]:
        tokens = self.tokenize(text, add_special=True, parse_special=False)
        if len(tokens) > self.n_limit:
            raise Refused(kind="context_length", n_prompt_tokens=len(tokens), n_ctx=self.n_limit, param="input")
        if not tokens:
            raise Refused(kind="bad_request", message="A text holds no tokens for this model.", param="input")
        return tokens
