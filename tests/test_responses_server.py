"""/v1/responses on a real server: what is kept and for whom, streams that fail or are left, and what is counted."""

import http.client
import json
import os
import signal

import pytest
import tiny_models
from faults import worker_of
from people import People
from running import RunningServer, wait_until

PATH = "/v1/responses"
LONG = {"max_output_tokens": 6000}


class EventStream:
    """A streamed response as its client sees it."""

    def __init__(self, server: RunningServer, **body):
        self._connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        body = {"input": "Hello!", "stream": True, "temperature": 0, **body}
        self._connection.request("POST", PATH, json.dumps(body), {"Content-Type": "application/json"})
        self.answer = self._connection.getresponse()

    def __iter__(self):
        """The data of the events that are still to come; the line before says the same type."""
        kind = ""
        for line in self.answer:
            if line.startswith(b"event: "):
                kind = line[7:].decode().strip()
            elif line.startswith(b"data: "):
                event = json.loads(line[6:])
                assert event["type"] == kind
                yield event

    def until(self, kind: str) -> dict:
        return next(event for event in self if event["type"] == kind)

    def hang_up(self) -> None:
        self.answer.close()
        self._connection.close()


def ask(server: RunningServer, **body) -> dict:
    status, _, answer = server.request(PATH, {"input": "Hello!", "max_output_tokens": 4, "temperature": 0, **body})
    assert status == 200, answer
    return answer


def code_of(server: RunningServer, path: str) -> str | None:
    status, _, answer = server.request(path)
    return None if status == 200 else answer["error"]["code"]


def test_what_has_arrived_as_complete_outlives_a_kill(endless_models, tmp_path):
    flags = (tmp_path / "data", "--models-dir", str(endless_models))
    kept = []
    for _ in range(3):
        server = RunningServer(*flags)
        for answer in kept:
            assert server.request(f"{PATH}/{answer['id']}")[2] == answer
        previous = kept[-1]["id"] if kept else None
        kept.append(ask(server, previous_response_id=previous))
        last = EventStream(server, max_output_tokens=4, previous_response_id=kept[-1]["id"])
        kept.append(last.until("response.incomplete")["response"])
        server.process.kill()
        server.stop()
        last.hang_up()
    server = RunningServer(*flags)
    items = server.request(f"{PATH}/{kept[-1]['id']}/input_items?limit=100&order=asc")[2]["data"]
    assert [item["role"] for item in items] == ["user", "assistant"] * 5 + ["user"]
    assert server.request(f"{PATH}/{kept[-1]['id']}")[2] == kept[-1]
    server.stop()


def test_without_store_nothing_is_kept(tiny_server):
    whole = ask(tiny_server, store=False)
    streamed = EventStream(tiny_server, store=False, max_output_tokens=4).until("response.incomplete")["response"]
    for answer in (whole, streamed):
        assert answer["store"] is False
        assert code_of(tiny_server, f"{PATH}/{answer['id']}") == "response_not_found"


def test_a_stream_that_is_left_ends_its_work_and_is_not_kept(tiny_server):
    stream = EventStream(tiny_server, **LONG)
    id = stream.until("response.created")["response"]["id"]
    stream.until("response.output_text.delta")
    stream.hang_up()
    # It is answered one at a time here, so the next answer begins when that one has ended.
    assert ask(tiny_server)["status"] == "incomplete"
    assert code_of(tiny_server, f"{PATH}/{id}") == "response_not_found"


def test_a_stream_whose_model_dies_fails_with_one_event_and_the_next_request_is_answered(tiny_server):
    stream = EventStream(tiny_server, **LONG)
    events = [stream.until("response.output_text.delta")]
    os.kill(worker_of(tiny_server), signal.SIGKILL)
    events += list(stream)
    numbers = [event["sequence_number"] for event in events]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert [event["type"] for event in events].count("response.failed") == 1
    response = events[-1]["response"]
    assert (response["status"], response["error"]["code"]) == ("failed", "server_error")
    assert "engine for tiny" in response["error"]["message"]
    assert response["output"][0]["status"] == "incomplete"
    assert code_of(tiny_server, f"{PATH}/{response['id']}") == "response_not_found"
    assert ask(tiny_server)["status"] == "incomplete"


def test_a_stream_that_cannot_be_kept_fails_at_its_end(tiny_server):
    first = ask(tiny_server)
    stream = EventStream(tiny_server, max_output_tokens=300, previous_response_id=first["id"])
    stream.until("response.output_text.delta")
    assert tiny_server.request(f"{PATH}/{first['id']}", method="DELETE")[0] == 200
    last = list(stream)[-1]
    assert last["type"] == "response.failed"
    told = last["response"]["error"]
    assert (told["code"], told["param"]) == ("invalid_prompt", "previous_response_id")


@pytest.mark.parametrize("is_streamed", [True, False])
def test_an_error_before_the_first_event_has_a_status_and_names_the_field(start_server, endless_models, is_streamed):
    server = start_server("--models-dir", str(endless_models))  # which sends no comments before the first event
    for body, param in (({"input": "word " * 20_000}, "input"), ({"input": "x", "temperature": 3}, "temperature")):
        status, headers, answer = server.request(PATH, {**body, "stream": is_streamed})
        assert (status, headers.get_content_type()) == (400, "application/json")
        assert answer["error"]["param"] == param


def test_a_conversation_that_goes_on_takes_its_beginning_from_the_cache(tiny_server):
    first = ask(tiny_server, input="A question about something. " * 20)
    second = ask(tiny_server, input="And then?", previous_response_id=first["id"])
    n_first = first["usage"]["input_tokens"]
    assert second["usage"]["input_tokens_details"]["cached_tokens"] >= n_first


def test_a_count_is_what_the_answer_then_says(tiny_server):
    first = ask(tiny_server)
    tool = {"type": "function", "name": "add", "parameters": {"type": "object", "properties": {}}}
    body = {"input": "And now?", "instructions": "Be kind.", "previous_response_id": first["id"], "tools": [tool]}
    status, _, counted = tiny_server.request(f"{PATH}/input_tokens", body)
    assert status == 200
    assert counted["input_tokens"] == ask(tiny_server, **body)["usage"]["input_tokens"]
    body["max_output_tokens"] = 5
    assert tiny_server.request(f"{PATH}/input_tokens", body)[2]["error"]["param"] == "max_output_tokens"


def test_instructions_are_not_carried_over(tiny_server):
    first = ask(tiny_server, instructions="Be kind. " * 30)
    plain = ask(tiny_server)
    n_more = [ask(tiny_server, previous_response_id=before["id"])["usage"]["input_tokens"] for before in (first, plain)]
    assert first["usage"]["input_tokens"] > plain["usage"]["input_tokens"] + 30
    # The same turns, but for what the model said to them.
    assert abs(n_more[0] - n_more[1]) < 30


def test_everybody_has_their_own_and_an_account_takes_them_along(tmp_path):
    (tmp_path / "models").mkdir()
    tiny_models.chat_model(tmp_path / "models" / "tiny.gguf")
    with People(tmp_path / "people", "--models-dir", str(tmp_path / "models")) as people:
        ada, bob = people.add("viewer", "ada"), people.add("user", "bob")
        body = {"input": "Hello!", "max_output_tokens": 2}
        hers = people.request(PATH, body, headers=ada.headers)[2]["id"]
        for headers in (bob.headers, people.admin, {}):
            for method, path in (
                ("GET", f"{PATH}/{hers}"),
                ("DELETE", f"{PATH}/{hers}"),
                ("GET", f"{PATH}/{hers}/input_items"),
                ("POST", f"{PATH}/{hers}/cancel"),
            ):
                status, _, answer = people.request(path, method=method, headers=headers)
                assert (status, answer["error"]["code"]) == (404, "response_not_found")
            status, _, answer = people.request(PATH, {**body, "previous_response_id": hers}, headers=headers)
            assert (status, answer["error"]["code"]) == (400, "previous_response_not_found")
        assert people.request(f"{PATH}/{hers}", headers=ada.headers)[0] == 200
        usage = people.request("/v1/admin/usage", headers=people.admin)[2]
        assert any(row["service"] == "responses" for row in usage["data"]), usage
        assert people.request(f"/v1/users/{ada.id}", method="DELETE", headers=people.admin)[0] == 200
        again = people.add("viewer", "ada")
        assert people.request(f"{PATH}/{hers}", headers=again.headers)[0] == 404


def test_pages_of_items_meet_and_none_is_left_out(tiny_server):
    texts = [f"Text {i}" for i in range(5)]
    id = ask(tiny_server, input=[{"role": "user", "content": text} for text in texts])["id"]
    for order, wanted in (("asc", texts), ("desc", texts[::-1])):
        found, after = [], ""
        while True:
            page = tiny_server.request(f"{PATH}/{id}/input_items?limit=2&order={order}{after}")[2]
            found += [item["content"][0]["text"] for item in page["data"]]
            after = f"&after={page['last_id']}"
            if not page["has_more"]:
                break
        assert found == wanted


def test_at_the_stop_of_the_server_a_stream_has_ended_or_failed_and_is_there_or_not(endless_models, tmp_path):
    flags = (tmp_path / "data", "--models-dir", str(endless_models))
    server = RunningServer(*flags, "--shutdown-grace-s", "0.1")
    stream = EventStream(server, max_output_tokens=16_000)
    stream.until("response.output_text.delta")
    server.process.terminate()
    last = list(stream)[-1]
    assert last["type"] == "response.failed"
    assert server.stop() == 0
    again = RunningServer(*flags)
    assert code_of(again, f"{PATH}/{last['response']['id']}") == "response_not_found"
    wait_until(lambda: again.request("/health")[0] == 200)
    again.stop()


def test_items_are_referred_to_while_they_are_kept(tiny_server):
    first = ask(tiny_server, input="Remember this.")
    [said] = first["output"]
    asked = tiny_server.request(f"{PATH}/{first['id']}/input_items")[2]["data"][0]
    references = [{"type": "item_reference", "id": item["id"]} for item in (asked, said)]
    question = {"role": "user", "content": "And now?"}
    by_reference = ask(tiny_server, input=[*references, question])
    assert (
        by_reference["usage"]["input_tokens"]
        == ask(tiny_server, input=[asked, said, question])["usage"]["input_tokens"]
    )
    assert (
        by_reference["usage"]["input_tokens"]
        == (ask(tiny_server, input=[question], previous_response_id=first["id"])["usage"]["input_tokens"])
    )
    # What goes on from it has the items themselves, whatever becomes of the first.
    tiny_server.request(f"{PATH}/{first['id']}", method="DELETE")
    items = tiny_server.request(f"{PATH}/{by_reference['id']}/input_items?order=asc")[2]["data"]
    assert items[:2] == [asked, said]


def test_a_reference_to_nothing_is_named_and_nobody_refers_to_anothers_items(endless_models, tmp_path):
    with People(tmp_path / "people", "--models-dir", str(endless_models)) as people:
        ada, bob = people.add("viewer", "ada"), people.add("user", "bob")
        body = {"input": "Hello!", "max_output_tokens": 2}
        [said] = people.request(PATH, body, headers=ada.headers)[2]["output"]
        reference = {"type": "item_reference", "id": said["id"]}
        body["input"] = [{"role": "user", "content": "Hello!"}, reference]
        assert people.request(PATH, body, headers=ada.headers)[0] == 200
        for path in (PATH, f"{PATH}/input_tokens"):
            status, _, answer = people.request(path, {"input": body["input"]}, headers=bob.headers)
            assert (status, answer["error"]["code"]) == (404, "item_not_found")
            assert answer["error"]["param"] == "input[1].id" and said["id"] in answer["error"]["message"]


def test_where_the_server_keeps_no_responses_nothing_is_on_the_disk_and_nothing_is_gone_on_from(
    start_server, endless_models
):
    server = start_server("--models-dir", str(endless_models), "--keep-responses", "false")
    whole = ask(server, input="Qzsecret", store=True)
    stream = EventStream(server, input="Qzsecret", max_output_tokens=4)
    streamed = stream.until("response.incomplete")["response"]
    for answer in (whole, streamed):
        assert answer["store"] is False
        assert code_of(server, f"{PATH}/{answer['id']}") == "response_not_found"
    reference = [{"type": "item_reference", "id": whole["output"][0]["id"]}]
    for path in (PATH, f"{PATH}/input_tokens"):
        for body, param in (({"input": "?", "previous_response_id": whole["id"]}, "previous_response_id"),
                            ({"input": reference}, "input")):  # fmt: skip
            status, _, answer = server.request(path, body)
            assert (status, answer["error"]["param"]) == (400, param)
            assert "services.keep_responses" in answer["error"]["message"]
    assert server.stop() == 0
    kept = [path for path in server.data_dir.rglob("*") if path.is_file() and b"Qzsecret" in path.read_bytes()]
    assert kept == []
