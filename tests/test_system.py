"""/v1/system/* and /v1/stats: the shapes that clients of the original server know, with figures that are true."""

import os
import re
from datetime import datetime

from people import People
from running import wait_until

import offgrid

SEED_STATS = {
    "cpu_percent",
    "memory_bytes",
    "models_loaded",
    "active_sessions",
    "requests_total",
    "tokens_generated",
    "uptime_seconds",
}
UTC_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def test_the_configuration_is_public_and_says_what_is_there(start_server):
    server = start_server("--api-key", "secret")
    status, _, config = server.request("/v1/system/config")
    assert status == 200
    assert config["version"] == offgrid.__version__
    assert config["require_auth"] is True and config["guest_access"] is False
    assert config["features"]["users"] is config["multi_user_mode"] is False
    assert config["features"]["metrics"] is True
    for name, path in (("agent", "/v1/agents/run"), ("lora", "/v1/lora")):
        is_there = server.request(path, headers={"Authorization": "Bearer secret"})[0] != 404
        assert config["features"][name] is is_there


def test_the_figures_want_the_permission(start_server):
    server = start_server("--api-key", "secret")
    for path in ("/v1/system/stats", "/v1/system/info", "/v1/stats", "/metrics"):
        assert server.request(path)[0] == 401
        assert server.request(path, headers={"Authorization": "Bearer secret"})[0] == 200


def test_stats_have_the_seeds_figures_and_they_move(tiny_server):
    before = tiny_server.request("/v1/system/stats")[2]
    assert before.keys() >= SEED_STATS
    tiny_server.chat("Hello!", max_tokens=9)
    tiny_server.request("/nowhere")
    after = tiny_server.request("/v1/system/stats")[2]
    assert after["tokens_generated"] - before["tokens_generated"] == 9
    assert after["requests_total"] - before["requests_total"] == 3
    assert after["errors_total"] - before["errors_total"] == 1
    assert after["requests_in_flight"] == 1
    assert after["models_loaded"] == 1
    assert after["active_sessions"] == 0
    assert after["avg_latency_ms"] > 0
    assert isinstance(after["uptime_seconds"], int)


def test_stats_tell_the_machine_as_the_kernel_does(tiny_server):
    stats = tiny_server.request("/v1/system/stats")[2]
    assert stats["memory_total"] <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert 0 < stats["memory_used"] < stats["memory_total"]
    assert stats["memory_percent"] == round(100 * stats["memory_used"] / stats["memory_total"], 1)
    assert 0 < stats["heap_alloc"] < stats["memory_bytes"] < stats["memory_total"]
    assert 0 < stats["disk_percent"] <= 100
    # The server has just started and loaded a model: it has used some of the processors.
    assert 0 < stats["process_cpu_percent"] <= 100
    assert 0 < stats["cpu_percent"] <= 100


def test_what_people_keep_is_counted(tmp_path):
    with People(tmp_path) as people:
        ada = people.add()
        people.add("admin")
        people.request("/v1/sessions", {"name": "maths"}, headers=ada.headers)
        stats = people.request("/v1/system/stats", headers=ada.headers)[2]
        assert (stats["active_sessions"], stats["total_users"], stats["admin_users"]) == (1, 3, 2)
        shown = people.request("/metrics", headers=ada.headers)[2]
        assert "\noffgrid_active_sessions 1\n" in shown and "\noffgrid_users 3\n" in shown
        modes = {"multi_user_mode": True, "require_auth": False, "guest_access": True}
        assert people.request("/v1/system/config")[2].items() >= modes.items()


def test_statistics_tell_each_model_apart(tiny_server):
    before = tiny_server.request("/v1/stats")[2]["inference"]["models"]["tiny"]
    answer = tiny_server.chat("Hello!", max_tokens=5)
    stats = tiny_server.request("/v1/stats")[2]
    one = stats["inference"]["models"]["tiny"]
    assert one["total_requests"] == before["total_requests"] + 1
    assert one["total_tokens"] == before["total_tokens"] + answer["usage"]["total_tokens"]
    assert UTC_TIME.fullmatch(one["last_used"]) and one["last_used"] >= before["last_used"]
    assert stats["inference"]["aggregate"]["models_used"] == 1
    assert stats["server"]["current_model"] == "tiny"
    assert stats["server"]["version"] == offgrid.__version__
    started = datetime.fromisoformat(stats["server"]["start_time"]).timestamp()
    assert started <= datetime.fromisoformat(one["last_used"]).timestamp() + 1
    assert stats["cache"]["models"] == ["tiny"]
    assert stats["system"]["cpu_cores"] == os.cpu_count()
    assert stats["rag"] == {"enabled": True, "documents": 0}


def test_the_model_that_is_gone_is_not_counted_as_loaded(tiny_server):
    tiny_server.request("/v1/models/unload", {"model": "tiny"})
    wait_until(lambda: not tiny_server.children())
    assert tiny_server.request("/v1/system/stats")[2]["models_loaded"] == 0
    assert tiny_server.request("/v1/stats")[2]["server"]["current_model"] == ""


def test_info_names_the_machine(start_server):
    info = start_server().request("/v1/system/info")[2]
    assert info["cpu"] and info["backend"] == "llama.cpp"
    assert info["cpu_cores"] == os.cpu_count() >= info["usable_cores"] >= 1
    assert 0 < info["free_memory"] <= info["total_memory"]
    assert (info["os"], info["architecture"]) == (os.uname().sysname.lower(), os.uname().machine)
    assert info["gpu"] is None


def test_health_tells_nothing_about_the_machine_or_who_uses_it(start_server):
    server = start_server("--api-key", "secret")
    status, _, health = server.request("/health")
    assert status == 200
    assert health.keys() == {
        "status",
        "version",
        "audit",
        "uptime",
        "uptime_seconds",
        "timestamp",
        "requests_in_flight",
        "models_loaded",
    }
