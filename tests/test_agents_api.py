"""/v1/agents of a running server: runs of random models, events, approval, cancelling, sessions, whose is whose."""

import http.client
import json
from concurrent.futures import ThreadPoolExecutor

import jsonschema
import pytest
import tiny_models
from people import People
from running import RunningServer, wait_until

import offgrid
from offgrid.agents.steps import STATUSES
from offgrid.api.agents import ANSWER, EVENT
from offgrid.api.answers import schema_of

RUN, TASKS = "/v1/agents/run", "/v1/agents/tasks"
SIX = ["calculator", "current_time", "list_models", "search_documents", "read_file", "list_files"]
ONE_THREAD = ("--threads", "1")  # two would wait for each other at every step of a tiny model on a busy machine
SHELL_STEP = ["Thought", ": ", "Look.", "\nAction", ": sh", "ell\nAction", " Input: ", '{"argv": ["ls"]}']


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    tiny_models.chat_model(folder / "tiny.gguf", n_ctx_train=8192, eos_bias=4)
    return folder


@pytest.fixture
def server(start_server, models):
    return start_server("--models-dir", str(models), *ONE_THREAD, "--keep-alive-interval-s", "0.05")


@pytest.fixture
def asking_server(start_server, tmp_path):
    """Its model wants to call the shell again and again, which a person must agree to."""
    (tmp_path / "models").mkdir()
    tiny_models.scripted_model(tmp_path / "models" / "shell.gguf", SHELL_STEP, n_ctx_train=8192)
    server = start_server("--models-dir", str(tmp_path / "models"), *ONE_THREAD, "--agent-approve-timeout-s", "20")
    server.request("/v1/agents/tools", {"name": "shell", "enabled": True}, method="PATCH")
    return server


def events_of(server: RunningServer, body: dict):
    """Yields the events of a streamed run as they come."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.request("POST", RUN, json.dumps(body | {"stream": True}), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    assert answer.status == 200, answer.read()
    try:
        for line in answer:
            if line.startswith(b"data: "):
                yield json.loads(line[6:])
    finally:
        answer.close()
        connection.close()


def task_of(server: RunningServer, id: str) -> dict:
    return server.request(f"{TASKS}/{id}")[2]


def check_steps(steps: list[dict]) -> None:
    """Every step is one, and every call names a tool that there is, with an object."""
    assert [step["id"] for step in steps] == list(range(1, len(steps) + 1))
    for step in steps:
        if step["type"] == "action":
            assert step["tool_name"] in SIX and isinstance(json.loads(step["tool_args"]), dict)
            assert step["tool_result"]


def test_thirty_runs_of_a_random_model_have_no_malformed_step(server):
    def run(seed: int) -> dict:
        body = {"prompt": f"Task {seed}", "temperature": 1, "seed": seed, "max_steps": 3, "max_tokens": 160}
        answer = client.agent.run(**body, tools=SIX)
        jsonschema.validate(answer, schema_of(ANSWER))
        check_steps(answer["steps"])
        assert bool(answer["output"]) or answer["error"]
        return answer

    client = offgrid.Client(host=server.url)  # of the slowest one, where others compute as well
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(run, range(30)))
    assert sum(len(answer["tool_calls"]) for answer in answers) > 5
    assert {answer["status"] for answer in answers} <= set(STATUSES) - {"cancelled"}
    assert server.request(f"{TASKS}?limit=1")[2]["total"] == 30


def test_a_stream_has_the_documented_events_and_one_end(server):
    schema = schema_of(EVENT)
    events = list(events_of(server, {"prompt": "Do it.", "tools": SIX, "max_steps": 2, "max_tokens": 60, "seed": 3}))
    for event in events:
        jsonschema.validate(event, schema)
    assert events[0]["type"] == "status" and [e["type"] for e in events].count("status") == 1
    assert [e["type"] for e in events[:-1] if e["type"] in ("done", "error")] == []
    end = events[-1]
    steps = [e for e in events if e["type"] == "step"]
    assert end["steps"] == len(steps) and end["task_id"] == events[0]["task_id"]
    assert end["type"] == "error" or steps[-1] | {"step_type": "answer"} == steps[-1]
    task = task_of(server, end["task_id"])
    assert task["status"] == ("completed" if end["type"] == "done" else "failed")
    assert [step["content"] for step in task["steps"]] == [step["content"] for step in steps]


def test_what_is_wrong_is_refused_by_name_before_anything_runs(server):
    server.request("/v1/agents/tools", {"name": "calculator", "enabled": False}, method="PATCH")
    for body, status, named in (
        ({}, 400, "prompt"),
        ({"prompt": "a", "task": "b"}, 400, "task"),
        ({"prompt": "a", "style": "wild"}, 400, "style"),
        ({"prompt": "a", "max_steps": 31}, 400, "max_steps"),
        ({"prompt": "a", "max_iterations": 31}, 400, "max_iterations"),
        ({"prompt": "a", "max_total_tokens": 30_000}, 400, "max_total_tokens"),
        ({"prompt": "a", "tools": ["nothing"]}, 400, "tools[0]"),
        ({"prompt": "a", "tools": ["read_file", "calculator"]}, 400, "tools[1]"),
        ({"prompt": "a", "tools": ["shell"]}, 400, "tools[0]"),
        ({"prompt": "a", "stream": True, "background": True}, 400, "stream"),
        ({"prompt": "a", "session": "none"}, 404, None),
        ({"prompt": "a", "datastore_id": "none"}, 404, None),
        ({"prompt": "a", "model": "none"}, 404, None),
        ({"prompt": "word " * 9000}, 400, "prompt"),
        ({"prompt": "word " * 9000, "stream": True}, 400, "prompt"),
    ):
        got, _, answer = server.request(RUN, body)
        assert (got, answer["error"]["param"] if named else None) == (status, named), (body, answer)


def test_a_run_in_the_background_ends_without_its_client(server):
    status, _, task = server.request(RUN, {"task": "Do it.", "max_iterations": 2, "max_tokens": 40, "background": True})
    assert status == 202 and task["status"] in ("pending", "running") and task["prompt"] == "Do it."
    done = wait_until(lambda: (t := task_of(server, task["id"]))["completed_at"] and t, 20)
    assert done["status"] in ("completed", "failed") and done["steps"] and done["tokens_used"]
    assert done["config"]["max_steps"] == 2
    usage = server.request("/v1/admin/usage?by=service")[2]
    assert "agents" in json.dumps(usage)
    assert server.request(f"{TASKS}/{task['id']}", method="DELETE")[0] == 200
    assert server.request(f"{TASKS}/{task['id']}")[0] == 404


def test_a_session_is_gone_on_from_and_told_the_answer(server):
    server.request("/v1/sessions", {"name": "s", "messages": [{"role": "user", "content": "My cat is Tom."}]})
    answer = server.request(RUN, {"prompt": "And?", "style": "cot", "max_tokens": 60, "session": "s", "seed": 1})[2]
    said = [(m["role"], m["content"]) for m in server.request("/v1/sessions/s")[2]["messages"]]
    if answer["output"]:
        assert said[1:] == [("user", "And?"), ("assistant", answer["output"])]
    else:
        assert len(said) == 1 and answer["error"]


def test_hanging_up_ends_the_run(server):
    body = {"prompt": "Do it.", "style": "cot", "max_tokens": 6000, "temperature": 1, "seed": 2}
    stream = events_of(server, body)
    id = next(stream)["task_id"]
    stream.close()
    assert wait_until(lambda: (t := task_of(server, id))["completed_at"] and t)["status"] in ("cancelled", "completed")
    wait_until(lambda: server.request("/v1/system/stats")[2]["requests_in_flight"] <= 1)


def test_a_call_waits_until_a_person_agrees(asking_server):
    server = asking_server
    waiting, steps = [], []
    for event in events_of(server, {"prompt": "Look.", "tools": ["shell"], "max_steps": 2, "temperature": 0}):
        if event["type"] == "approval":
            waiting.append(event)
            assert task_of(server, event["task_id"])["waiting_for"] == [
                {"call": event["call"], "tool": "shell", "args": {"argv": ["ls"]}}
            ]
            wrong = server.request(f"{TASKS}/{event['task_id']}/approve", {"approve": True, "call": "call_9"})
            assert wrong[0] == 404 and wrong[2]["error"]["param"] == "call"
            agreed = server.request(f"{TASKS}/{event['task_id']}/approve", {"approve": True, "call": event["call"]})
            assert (agreed[0], agreed[2]["status"]) == (200, "approved")
        steps += [event] if event["type"] == "step" else []
    assert len(waiting) == 1
    action = next(step for step in steps if step["step_type"] == "action")
    assert "did not agree" not in action["tool_result"] and not action["tool_result"].startswith("Error")
    over = server.request(f"{TASKS}/{waiting[0]['task_id']}/approve", {"approve": True})
    assert over[0] == 409


def test_a_refusal_is_told_to_the_model_and_nothing_is_run(asking_server):
    server = asking_server
    for event in events_of(server, {"prompt": "Look.", "tools": ["shell"], "max_steps": 2, "temperature": 0}):
        if event["type"] == "approval":
            server.request(f"{TASKS}/{event['task_id']}/approve", {"approve": False})
        if event["type"] == "step" and event["step_type"] == "action":
            assert "did not agree" in event["tool_result"]
            return
    raise AssertionError("no call was made")


def test_cancelling_ends_a_run_that_waits_for_a_person(asking_server):
    server = asking_server
    task = server.request(RUN, {"prompt": "Look.", "tools": ["shell"], "temperature": 0, "background": True})[2]
    wait_until(lambda: task_of(server, task["id"])["waiting_for"], 20)
    assert server.request(f"{TASKS}/{task['id']}/cancel", {})[0] == 200
    ended = wait_until(lambda: (t := task_of(server, task["id"]))["completed_at"] and t)
    assert (ended["status"], ended["outcome"], ended["waiting_for"]) == ("cancelled", "cancelled", [])


def test_a_tool_ends_with_the_run_that_called_it(start_server, tmp_path):
    (tmp_path / "models").mkdir()
    step = [*SHELL_STEP[:-1], '{"argv": ["sleep", "60"]}']
    tiny_models.scripted_model(tmp_path / "models" / "sleep.gguf", step, n_ctx_train=8192)
    server = start_server("--models-dir", str(tmp_path / "models"), *ONE_THREAD, "--agent-approve", "")
    server.request("/v1/agents/tools", {"name": "shell", "enabled": True}, method="PATCH")
    stream = events_of(server, {"prompt": "Sleep.", "tools": ["shell"], "temperature": 0})
    id = next(stream)["task_id"]
    n_before = len(server.children())
    wait_until(lambda: len(server.children()) > n_before, 20)  # the warden
    stream.close()
    assert wait_until(lambda: (t := task_of(server, id))["completed_at"] and t, 20)["status"] == "cancelled"
    wait_until(lambda: len(server.children()) == n_before)


def test_a_call_that_nobody_answers_is_refused_after_its_time(start_server, tmp_path):
    (tmp_path / "models").mkdir()
    tiny_models.scripted_model(tmp_path / "models" / "shell.gguf", SHELL_STEP, n_ctx_train=8192)
    server = start_server("--models-dir", str(tmp_path / "models"), *ONE_THREAD, "--agent-approve-timeout-s", "1")
    server.request("/v1/agents/tools", {"name": "shell", "enabled": True}, method="PATCH")
    answer = server.request(RUN, {"prompt": "Look.", "tools": ["shell"], "max_steps": 2, "temperature": 0})[2]
    assert "did not answer within 1 s" in answer["tool_calls"][0]["result"]


def test_an_unfinished_run_is_marked_after_a_restart(tmp_path):
    (tmp_path / "models").mkdir()
    tiny_models.scripted_model(tmp_path / "models" / "shell.gguf", SHELL_STEP, n_ctx_train=8192)
    flags = ("--models-dir", str(tmp_path / "models"), *ONE_THREAD)
    first = RunningServer(tmp_path / "data", *flags)
    try:
        first.request("/v1/agents/tools", {"name": "shell", "enabled": True}, method="PATCH")
        task = first.request(RUN, {"prompt": "Look.", "tools": ["shell"], "temperature": 0, "background": True})[2]
        wait_until(lambda: task_of(first, task["id"])["waiting_for"], 20)
    finally:
        first.stop(9)
    second = RunningServer(tmp_path / "data", *flags)
    try:
        marked = task_of(second, task["id"])
        assert (marked["status"], marked["waiting_for"], marked["prompt"]) == ("interrupted", [], "Look.")
    finally:
        second.stop()


def test_nobody_sees_or_touches_the_runs_of_others(tmp_path, models):
    with People(tmp_path / "p", "--models-dir", str(models), *ONE_THREAD) as people:
        one, two, viewer = people.add("user"), people.add("user"), people.add("viewer")
        body = {"prompt": "Do it.", "max_steps": 1, "max_tokens": 30}
        status, _, answer = people.request(RUN, body, headers=one.headers)
        assert status == 200
        path = f"{TASKS}/{answer['task_id']}"
        for person in (two.headers, people.admin):
            assert people.request(TASKS, headers=person)[2]["total"] == 0
            assert people.request(path, headers=person)[0] == 404
            assert people.request(path, method="DELETE", headers=person)[0] == 404
            assert people.request(f"{path}/cancel", {}, headers=person)[0] == 404
            assert people.request(f"{path}/approve", {"approve": True}, headers=person)[0] == 404
        assert people.request(RUN, body, headers=viewer.headers)[0] == 403
        assert people.request(path, headers=one.headers)[0] == 200
        refused = people.request(RUN, body | {"tools": ["shell"]}, headers=one.headers)
        assert refused[0] == 400 and refused[2]["error"]["param"] == "tools[0]"


def test_a_limit_of_tokens_holds_for_agents(tmp_path, models):
    with People(tmp_path / "p", "--models-dir", str(models), *ONE_THREAD) as people:
        one = people.add("user")
        people.request(f"/v1/admin/limits/user/{one.id}", {"tokens_per_minute": 50}, method="PUT", headers=people.admin)
        body = {"prompt": "Do it.", "max_steps": 1, "max_tokens": 30}
        assert people.request(RUN, body, headers=one.headers)[0] == 200
        assert people.request(RUN, body, headers=one.headers)[0] == 429
        assert people.request(TASKS, headers=one.headers)[0] == 200


def test_the_python_library_runs_agents_and_tells_what_happens(server):
    client = offgrid.Client(host=server.url)
    answer = client.agent.run("Do it.", max_steps=2, tools=SIX, max_tokens=60, seed=1)
    assert answer["result"] == answer["output"] and answer["task_id"] == client.agent.tasks()[0]["id"]
    events = list(client.agent.run("Do it.", max_steps=1, tools=[], stream=True, max_tokens=600, seed=2))
    assert [events[0]["type"], events[-1]["type"]] == ["status", "done"]
    assert client.agent.task(events[-1]["task_id"])["status"] == "completed"
    assert client.agent.delete(events[-1]["task_id"])["success"]
    client.agent.disable_tool("calculator")
    assert "calculator" not in {tool["name"] for tool in client.agent.tools()}
    assert "calculator" in {tool["name"] for tool in client.agent.tools(all=True)}
    with pytest.raises(offgrid.BadRequest):
        client.agent.run("Do it.", tools=["calculator"], stream=True)
    client.agent.enable_tool("calculator")
