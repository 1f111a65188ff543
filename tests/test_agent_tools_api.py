"""/v1/agents/tools of a running server: who sees which tools, who switches them, and that it lasts."""

import subprocess
import sys

import pytest
from people import People
from running import REPO, RunningServer

TOOLS = "/v1/agents/tools"


def names(answer: dict) -> set[str]:
    return {tool["name"] for tool in answer["tools"]}


@pytest.fixture
def server(start_server, tmp_path):
    return start_server("--models-dir", str(tmp_path / "none"))


def test_tools_are_listed_and_switched_and_it_lasts(server):
    status, _, answer = server.request(TOOLS)
    assert status == 200 and answer["count"] == 7 == answer["enabled_count"] and answer["total"] == 9
    (calculator,) = (tool for tool in answer["tools"] if tool["name"] == "calculator")
    assert calculator["parameters"]["required"] == ["expression"] and calculator["type"] == "function"
    assert calculator["enabled"] and calculator["source"] == "builtin" and calculator["roles"] == ["user", "admin"]
    everything = server.request(f"{TOOLS}?all=true")[2]
    assert names(everything) - names(answer) == {"http_get", "shell"} and everything["count"] == 9
    status, _, switched = server.request(TOOLS, {"name": "http_get", "enabled": True}, method="PATCH")
    assert (status, switched) == (200, {"status": "enabled", "tool": "http_get", "enabled_count": 8})
    server.request(TOOLS, {"name": "calculator", "enabled": False}, method="PATCH")
    assert names(server.request(TOOLS)[2]) == names(answer) - {"calculator"} | {"http_get"}


def test_a_wrong_switch_is_refused_by_name(server):
    for body, status, named in (
        ({"name": "nothing", "enabled": True}, 404, "name"),
        ({"name": "shell"}, 400, "enabled"),
        ({"enabled": True}, 400, "name"),
        ({"name": "shell", "enabled": "yes"}, 400, "enabled"),
        ({"name": "", "enabled": True}, 400, "name"),
        ({"name": "shell", "enabled": True, "for": "ever"}, 400, "for"),
    ):
        got, _, answer = server.request(TOOLS, body, method="PATCH")
        assert (got, answer["error"]["param"]) == (status, named)
    assert server.request(f"{TOOLS}?all=yes")[0] == 400
    assert server.request(TOOLS)[2]["enabled_count"] == 7


def test_switching_is_in_the_audit_log(server):
    server.request(TOOLS, {"name": "shell", "enabled": True}, method="PATCH")
    row = server.request("/v1/admin/audit?action=agents")[2]["data"][0]
    assert (row["action"], row["detail"]) == (f"PATCH {TOOLS}", {"enabled": True, "tool": "shell"})


def test_switches_and_files_are_there_after_a_restart_and_the_first_admin_gets_what_there_was(tmp_path):
    (tmp_path / "p" / "data" / "workspaces" / "local").mkdir(parents=True)
    (tmp_path / "p" / "data" / "workspaces" / "local" / "a.txt").write_text("kept")
    with People(tmp_path / "p") as people:
        admin = people.request("/v1/users/me", headers=people.admin)[2]["user"]["id"]
        spaces = people.server.data_dir / "workspaces"
        assert (spaces / admin / "a.txt").read_text() == "kept" and not (spaces / "local").exists()
        people.request(TOOLS, {"name": "shell", "enabled": True}, method="PATCH", headers=people.admin)
    flags = ("--models-dir", str(tmp_path / "p" / "no-models"))
    again = RunningServer(tmp_path / "p" / "data", *flags, env={"OFFGRID_MULTI_USER": "true"})
    try:
        tools = again.request(TOOLS, headers=people.admin)[2]
        assert "shell" in names(tools) and (spaces / admin / "a.txt").read_text() == "kept"
    finally:
        again.stop()


def test_each_role_sees_the_tools_for_it(tmp_path):
    with People(tmp_path / "p") as people:
        people.request(TOOLS, {"name": "shell", "enabled": True}, method="PATCH", headers=people.admin)
        user, viewer = people.add("user"), people.add("viewer")
        assert "shell" in names(people.request(TOOLS, headers=people.admin)[2])
        seen = people.request(TOOLS, headers=user.headers)[2]
        assert "shell" not in names(seen) and "write_file" in names(seen) and seen["total"] == 9
        assert people.request(TOOLS, headers=viewer.headers)[0] == 403
        refused = people.request(TOOLS, {"name": "shell", "enabled": False}, method="PATCH", headers=user.headers)
        assert refused[0] == 403


def test_who_goes_takes_their_files_along(tmp_path):
    with People(tmp_path / "p") as people:
        one, two, three = (people.add("user") for _ in range(3))
        spaces = people.server.data_dir / "workspaces"
        for person in (one, two, three):
            (spaces / person.id).mkdir(parents=True)
            (spaces / person.id / "a.txt").write_text("theirs")
        assert people.request(f"/v1/users/{one.id}", method="DELETE", headers=people.admin)[0] == 200
        command = [sys.executable, str(REPO / "offgrid.py"), "users", "remove", two.username]
        subprocess.run(
            [*command, "--data-dir", str(people.server.data_dir)], check=True, capture_output=True, timeout=30
        )
        assert [path.name for path in spaces.iterdir()] == [three.id]
