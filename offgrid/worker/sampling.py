"""How the next token is chosen: one C sampler chain per sequence, built once, and beside it perhaps a grammar.

Greedy without extras needs no chain. With a grammar the token is chosen first, as if there were none, and the grammar
is asked about that one alone; only when it refuses are others asked about, the likeliest first, and a token is chosen
again without those that were refused. So the grammar is told exactly the tokens of the text, each right after it was
asked, and a token that fits costs some 60 µs more than a free one.

A grammar may also begin later: where a tool call begins in free text, or where an answer begins after thinking.
"""

import ctypes
from dataclasses import dataclass, field

import numpy as np

from offgrid.types import Sampling
from offgrid.worker import chain
from offgrid.worker.grammar import CANDIDATE, REFUSED, Grammar, candidates
from offgrid.worker.library import L
from offgrid.worker.refused import Refused

# How many tokens the grammar is asked about after a refusal, before the whole vocabulary; and how likely those of them
# that it allows must be, compared with them and all that were not asked about, for the choice to be among them.
SHORTLISTS = (256, 4096)
ENOUGH = 0.9


@dataclass(frozen=True, slots=True)
class Form:
    """What a text is held to, and from where on."""

    grammar: str  # GBNF
    is_late: bool = False  # it holds from `Sampler.hold` on, else from the first token on
    opening: int | None = None  # a first token that makes it late: the model's own way to begin to think
    spoken: dict[str, int] = field(default_factory=dict)  # control tokens, by name, that the grammar may spell
    param: str = "grammar"  # the field that asked for it


class Sampler:
    """The sampler of one sequence. `close()` it once; all calls belong to the thread that owns the model."""

    def __init__(self, sampling: Sampling, model, prompt: list[int], n_max: int, form: Form | None = None):
        """`n_max`: the most tokens it may generate. Raises Refused."""
        self._n_vocab = model.n_vocab
        self._eog_tokens = model.eog_tokens
        biases = chain.token_biases(sampling, model)
        self._grammar = Grammar(form.grammar, model, spoken=form.spoken, param=form.param) if form else None
        self._param = form.param if form else None
        self.is_held = form is not None and not form.is_late  # what comes next must follow the grammar
        self._opening = form.opening if form else None
        self._chain = None
        if stages := chain.stages(sampling, model, prompt, n_max, biases):
            self._chain = L.llama_sampler_chain_init(L.llama_sampler_chain_default_params())
            for stage in stages:
                L.llama_sampler_chain_add(self._chain, stage)  # the chain owns its stages
        if self._grammar is not None:
            banned = {token for token, bias in biases.items() if bias == REFUSED}
            self._never = np.array(sorted(banned | self._grammar.silent), np.int64)
            self._candidates = model.candidates

    def sample(self, ctx, row: int) -> int:
        """The token chosen from the logits of batch row `row`, which must have been flagged. Raises Refused."""
        logits = np.ctypeslib.as_array(L.llama_get_logits_ith(ctx, row), (self._n_vocab,))
        likeliest = int(logits.argmax())  # the first NaN, if there is one
        # Each time, and not only at a text's begin: one damaged row of the embeddings shows when its token comes.
        if not -np.inf < logits[likeliest] < np.inf:
            message = "The model computes numbers that are not numbers (NaN): its file is damaged. Copy it again."
            raise Refused(kind="internal", message=message)
        if self.is_held:
            return self._sample_allowed(logits)
        if self._chain is not None:
            return L.llama_sampler_sample(self._chain, ctx, row)  # this also tells the chain which token it was
        return likeliest

    def hold(self, text: str) -> bool:
        """Hold what follows to the grammar, after `text`, which was free; False: it does not allow that text."""
        self.is_held = self._grammar.catch_up(text)
        return self.is_held

    def tell(self, token: int) -> None:
        """The text goes on with a token that was not chosen here; only while nothing is held."""
        if self._chain is not None:
            L.llama_sampler_accept(self._chain, token)

    def _sample_allowed(self, logits: np.ndarray) -> int:
        token = self._choose(logits)
        opening, self._opening = self._opening, None
        if token == opening:
            self.is_held = False
            self.tell(token)
            return token
        if not self._grammar.allows(token):
            token = self._choose_again(logits.copy())
        if token not in self._eog_tokens:
            self._grammar.accept(token)
        self.tell(token)
        return token

    def _choose_again(self, logits: np.ndarray) -> int:
        """A token that the grammar allows, of logits that are free to be written on. Raises Refused: there is none."""
        logits[self._never] = REFUSED
        for n in (*SHORTLISTS, self._n_vocab):
            likely = np.argpartition(logits, -n)[-n:] if n < self._n_vocab else np.arange(self._n_vocab)
            refused = self._grammar.refused(likely)
            logits[likely[refused]] = REFUSED
            allowed = likely[~refused & (logits[likely] > REFUSED)]
            if _share(logits, allowed) >= ENOUGH:
                only_allowed = np.full_like(logits, REFUSED)
                only_allowed[allowed] = logits[allowed]
                token = self._choose(only_allowed)
                return token if self._grammar.allows(token) else int(only_allowed.argmax())
        if self._eog_tokens and self._grammar.allows(self._eog_tokens[0]):
            return self._eog_tokens[0]  # the text is complete; only ignore_eos or a bias spoke against its end
        message = "The grammar allows nothing more that this model's tokens, without those of logit_bias, can say."
        raise Refused(kind="bad_request", message=message, param=self._param)

    def _choose(self, logits: np.ndarray) -> int:
        """The chain's choice; it is not told of it yet."""
        return int(logits.argmax()) if self._chain is None else self._candidates.choose(self._chain, logits)

    def close(self) -> None:
        if self._chain is not None:
            L.llama_sampler_free(self._chain)
            self._chain = None
        if self._grammar is not None:
            self._grammar.close()


class Candidates:
    """The whole vocabulary as a chain takes it: memory that all samplers of a model use in turn."""

    def __init__(self, n_vocab: int):
        self._ids = np.arange(n_vocab, dtype=np.int32)
        self._all = np.zeros(n_vocab, CANDIDATE)

    def choose(self, chain, logits: np.ndarray) -> int:
        """The token that `chain` selects, without telling it."""
        self._all["id"] = self._ids  # the chain sorts them
        self._all["logit"] = logits
        array = candidates(self._all)
        L.llama_sampler_apply(chain, ctypes.byref(array))
        return int(array.data[array.selected].id)


def _share(logits: np.ndarray, tokens: np.ndarray) -> float:
    """How much of the probability `tokens` have."""
    if not len(tokens):
        return 0.0
    chances = np.exp(logits - logits.max())
    return float(chances[tokens].sum() / chances.sum())
