"""llama.cpp's own grammar sampler, fed byte by byte: in a tiny model's vocabulary the ids 0 to 255 are the bytes.

It is told only what it allowed before: anything else would end the process.
"""

import ctypes
from pathlib import Path

import tiny_models

from offgrid.worker.library import L, set_up


class Vocabulary:
    def __init__(self, folder: Path):
        set_up()
        path = tiny_models.chat_model(folder / "tiny.gguf") or folder / "tiny.gguf"
        params = L.llama_model_default_params()
        params.vocab_only = True
        self._model = L.llama_model_load_from_file(str(path).encode(), params)
        self.vocab = L.llama_model_get_vocab(self._model)
        self.end = L.llama_vocab_eos(self.vocab)

    def close(self) -> None:
        L.llama_model_free(self._model)

    def accepts(self, grammar: str, texts: list[str]) -> list[bool] | None:
        """Whether each text is a whole text of the grammar; None when llama.cpp does not take the grammar."""
        sampler = L.llama_sampler_init_grammar(self.vocab, grammar.encode(), b"root")
        if not sampler:
            return None
        verdicts = []
        for text in texts:
            L.llama_sampler_reset(sampler)
            verdicts.append(self._follows(sampler, text))
        L.llama_sampler_free(sampler)
        return verdicts

    def _follows(self, sampler, text: str) -> bool:
        for byte in text.encode():
            if not self._allows(sampler, byte):
                return False
            L.llama_sampler_accept(sampler, byte)
        return self._allows(sampler, self.end)

    def _allows(self, sampler, token: int) -> bool:
        one = (L.llama_token_data * 1)(L.llama_token_data(token, 1.0, 0.0))
        array = L.llama_token_data_array(one, 1, -1, False)
        L.llama_sampler_apply(sampler, ctypes.byref(array))
        return one[0].logit == 1.0
