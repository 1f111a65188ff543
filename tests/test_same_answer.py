"""One prompt, one answer: whichever family of clients asks, the text and the counts of tokens are the same."""

import anthropic
import ollama
import openai
import pytest
from running import CHAT, REPO, RunningServer

pytestmark = pytest.mark.model

ASKED = "Name three fruits and say which of them is the sweetest."
SYSTEM = "You are a greengrocer. Be brief."
N_TOKENS = 24
GREEDY = {"temperature": 0.0, "top_p": 1.0, "top_k": 40, "min_p": 0.0}
# For what a family has no word for, its model has it: all of them are asked for this one by its name alone.
SEEDED = "seeded"
DRAWN = {"temperature": 1.1, "top_p": 0.9, "top_k": 50, "min_p": 0.02, "repeat_penalty": 1.1, "seed": 7}

Answer = tuple[str, int, int]  # the text, the tokens of the prompt, those of the answer


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """A server for these tests alone: beside others' prompts the last digits of a score may differ."""
    assert (REPO / "models" / f"{CHAT}.gguf").exists(), "no starter models: run `make test`, or `make models` first"
    models = tmp_path_factory.mktemp("models")
    (models / f"{CHAT}.gguf").symlink_to(REPO / "models" / f"{CHAT}.gguf")
    server = RunningServer(tmp_path_factory.mktemp("data"), "--models-dir", str(models), "--speculation", "off")
    server.request("/api/create", {"model": SEEDED, "from": CHAT, "parameters": DRAWN, "stream": False})
    yield server.url
    assert server.stop() == 0


def openai_chat(url: str, model: str, said: dict, *, stream: bool, path: str = "/v1") -> Answer:
    words = {**said, "extra_body": {name: said[name] for name in ("top_k", "min_p") if name in said}}
    words = {name: value for name, value in words.items() if name not in ("top_k", "min_p")}
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": ASKED}]
    fields = {"model": model, "messages": messages, "max_tokens": N_TOKENS, **words}
    with openai.OpenAI(base_url=url + path, api_key="none", max_retries=0) as client:
        if not stream:
            answer = client.chat.completions.create(**fields)
            return answer.choices[0].message.content, answer.usage.prompt_tokens, answer.usage.completion_tokens
        events = list(client.chat.completions.create(**fields, stream=True, stream_options={"include_usage": True}))
        usage = events[-1].usage
        text = "".join(event.choices[0].delta.content or "" for event in events if event.choices)
        return text, usage.prompt_tokens, usage.completion_tokens


def lollms_chat(url: str, model: str, said: dict, *, stream: bool) -> Answer:
    return openai_chat(url, model, said, stream=stream, path="/ollama/v1")


def ollama_chat(url: str, model: str, said: dict, *, stream: bool) -> Answer:
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": ASKED}]
    answer = ollama.Client(url).chat(model, messages, options={**said, "num_predict": N_TOKENS}, stream=stream)
    parts = list(answer) if stream else [answer]
    return "".join(part.message.content for part in parts), parts[-1].prompt_eval_count, parts[-1].eval_count


def responses(url: str, model: str, said: dict, *, stream: bool) -> Answer:
    words = {name: said[name] for name in ("temperature", "top_p") if name in said}
    more = {name: said[name] for name in ("top_k", "min_p") if name in said}
    fields = {"model": model, "instructions": SYSTEM, "input": ASKED, "max_output_tokens": N_TOKENS, **words}
    with openai.OpenAI(base_url=url + "/v1", api_key="none", max_retries=0) as client:
        if not stream:
            answer = client.responses.create(**fields, extra_body=more)
            return answer.output_text, answer.usage.input_tokens, answer.usage.output_tokens
        events = list(client.responses.create(**fields, extra_body=more, stream=True))
        usage = events[-1].response.usage
        text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
        return text, usage.input_tokens, usage.output_tokens


def anthropic_messages(url: str, model: str, said: dict, *, stream: bool) -> Answer:
    words = {name: said[name] for name in ("temperature", "top_p", "top_k") if name in said}
    asked = [{"role": "user", "content": ASKED}]
    fields = {"model": model, "system": SYSTEM, "messages": asked, "max_tokens": N_TOKENS, "extra_body": words}
    with anthropic.Anthropic(base_url=url, api_key="none", max_retries=0) as client:
        if not stream:
            answer = client.messages.create(**fields)
            text = answer.content[0].text
        else:
            with client.messages.stream(**fields) as events:
                text = "".join(events.text_stream)
                answer = events.get_final_message()
        return text, answer.usage.input_tokens + answer.usage.cache_read_input_tokens, answer.usage.output_tokens


SURFACES = (openai_chat, lollms_chat, ollama_chat, responses, anthropic_messages)


@pytest.fixture(scope="module")
def expected(url) -> dict[str, Answer]:
    """What the first of them answers, for each model: greedy, and drawn."""
    return {
        CHAT: openai_chat(url, CHAT, GREEDY, stream=False),
        SEEDED: openai_chat(url, SEEDED, {}, stream=False),
    }


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("surface", SURFACES, ids=lambda surface: surface.__name__)
def test_the_same_greedy_question_has_the_same_answer_in_every_family(surface, stream, url, expected):
    assert surface(url, CHAT, GREEDY, stream=stream) == expected[CHAT]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("surface", SURFACES, ids=lambda surface: surface.__name__)
def test_the_same_seed_has_the_same_answer_in_every_family(surface, stream, url, expected):
    assert surface(url, SEEDED, {}, stream=stream) == expected[SEEDED]


def test_the_answers_compared_are_worth_comparing(url, expected):
    greedy, drawn = expected[CHAT], expected[SEEDED]
    assert 20 < greedy[1] == drawn[1]
    assert len(greedy[0]) > 20 and drawn[2] == N_TOKENS
    others = [openai_chat(url, SEEDED, {"seed": seed}, stream=False)[0] for seed in (8, 9, 10)]
    assert len({greedy[0], drawn[0], *others}) > 3  # so the model's own seed and temperature were heeded
