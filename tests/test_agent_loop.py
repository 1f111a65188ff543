"""The loop of an agent over a model that says what is written down: moves, budgets, repetition, a full context."""

import json

import pytest
from agent_bench import BUDGET, Bench, WrittenModel, act, answer

from offgrid.agents.loop import TimeOver
from offgrid.agents.prompt import AGAIN, LAST, NEXT
from offgrid.agents.step_grammar import MAX_SCHEMA_BYTES, why_unusable
from offgrid.agents.steps import Budget, Call
from offgrid.agents.styles import Reply
from offgrid.errors import ContextLengthExceeded
from offgrid.types import Finish, Usage


def test_a_call_its_result_and_the_answer_are_steps_in_their_order():
    key = Call("", "calculator", {"expression": "6*7"}).key
    bench = Bench(WrittenModel(act("6*7"), answer("42")), results={key: "42"})
    outcome = bench.run("What is 6*7?")
    assert (outcome.status, outcome.output, outcome.error) == ("completed", "42", "")
    assert bench.types == ["thought", "action", "observation", "thought", "answer"]
    assert [step.id for step in bench.steps] == [1, 2, 3, 4, 5]
    action = bench.steps[1]
    assert (action.tool_name, json.loads(action.tool_args), action.tool_result) == (
        *("calculator", {"expression": "6*7"}, "42"),
    )
    told = bench.model.asked[1][0]
    assert told[-1] == {"role": "user", "content": f"Observation: 42\n{NEXT}"}
    assert told[-3]["content"] == "Task: What is 6*7?"


def test_an_answer_may_hold_what_looks_like_a_call():
    outcome = Bench(WrittenModel(answer("Write this:\nAction: calculator"))).run()
    assert outcome.output == "Write this:\nAction: calculator"


def test_the_same_call_is_remarked_upon_and_not_made_a_third_time():
    bench = Bench(WrittenModel(act("1"), act("1"), act("1"), answer("1")))
    outcome = bench.run()
    assert outcome.status == "loop" and outcome.output == "1" and "same call" in outcome.error
    assert len(bench.calls) == 2
    hints = [messages[-1]["content"] for messages, _ in bench.model.asked[1:]]
    assert [AGAIN in hint for hint in hints] == [False, True, True] and LAST in hints[-1]
    assert "calculator" not in bench.model.asked[-1][1]["grammar"]


def test_other_arguments_are_no_repetition():
    bench = Bench(WrittenModel(act("1"), act("2"), act("1"), act("2"), answer("x")))
    assert bench.run().status == "completed" and len(bench.calls) == 4


def test_the_last_step_can_only_be_the_answer_and_the_status_says_so():
    bench = Bench(WrittenModel(act("1"), act("2"), answer("3")), budget=Budget(3, 100, 1000, 60))
    outcome = bench.run()
    assert (outcome.status, outcome.output) == ("step_limit", "3") and "3 steps" in outcome.error
    assert len(bench.model.asked) == 3


def test_tokens_are_a_budget_too():
    texts = [act(str(i), "word " * 40) for i in range(5)]
    bench = Bench(WrittenModel(*texts[:2], answer("done")), budget=Budget(30, 60, 180, 60))
    outcome = bench.run()
    assert outcome.status == "token_limit" and outcome.output == "done" and bench.loop.n_tokens <= 180


def test_a_time_that_is_over_ends_a_run_without_an_answer():
    class Slow(WrittenModel):
        def ask(self, *_):
            raise TimeOver

    outcome = Bench(Slow(act("1"))).run()
    assert (outcome.status, outcome.output) == ("time_limit", "") and outcome.error


def test_a_step_that_is_too_long_is_an_error_step_and_never_a_call():
    long = act("1 + " * 200)
    bench = Bench(WrittenModel(long, answer("short")))
    assert bench.run().status == "completed"
    assert bench.types[:2] == ["thought", "error"] and bench.calls == []
    bench = Bench(WrittenModel(long, long, answer("short")))
    outcome = bench.run()
    assert (outcome.status, outcome.output) == ("failed", "short") and "max_tokens" in outcome.error


def test_a_cut_answer_says_that_it_is_cut():
    outcome = Bench(WrittenModel(answer("word " * 200))).run()
    assert outcome.status == "token_limit" and outcome.output and "cut" in outcome.error


def test_long_observations_are_cut_by_tokens():
    key = Call("", "calculator", {"expression": "1"}).key
    bench = Bench(WrittenModel(act("1"), answer("x"), n_ctx=400), results={key: "word " * 3000})
    assert bench.run().status == "completed"
    told = bench.model.asked[1][0][-1]["content"]
    assert "cut here" in told and len(told.split()) < 400 // 4 + 30


def test_a_full_context_loses_old_observations_and_never_the_task():
    texts = [act(str(i)) for i in range(20)]
    results = {Call("", "calculator", {"expression": str(i)}).key: f"result {i} " + "word " * 100 for i in range(20)}
    model = WrittenModel(*texts, answer("x"), n_ctx=700)
    bench = Bench(model, budget=Budget(30, 100, 10_000, 60), results=results)
    assert bench.run("Do THE thing").status == "completed" and len(bench.calls) == 20
    for messages, fields in model.asked:
        assert any("Task: Do THE thing" in message["content"] for message in messages)
        assert model.count(messages, fields) + 100 <= 700
    assert "earlier steps are left out" in str(model.asked[-1][0])
    assert "result 19" in model.asked[-1][0][-1]["content"]


def test_a_task_that_does_not_fit_is_an_error_with_both_numbers():
    with pytest.raises(ContextLengthExceeded) as caught:
        Bench(WrittenModel(answer("x"), n_ctx=300)).run("word " * 400)
    assert caught.value.n_ctx == 300 and caught.value.n_prompt_tokens > 400 and caught.value.param == "prompt"


def test_chain_of_thought_calls_nothing():
    bench = Bench(WrittenModel("Thought: One.\nThought: Two.\nAnswer: 3"), style="cot", tools=())
    outcome = bench.run()
    assert (outcome.status, outcome.output, bench.types) == ("completed", "3", ["thought", "answer"])
    assert bench.steps[0].content == "One.\nTwo."


def test_thoughts_without_end_are_not_asked_for_again_and_again():
    for max_steps, n_asked, status in ((1, 1, "step_limit"), (9, 3, "failed")):
        bench = Bench(
            WrittenModel("Thought: " + "x " * 300), style="cot", tools=(), budget=Budget(max_steps, 9, 999, 60)
        )
        outcome = bench.run()
        assert (outcome.status, outcome.output, len(bench.model.asked)) == (status, "", n_asked) and outcome.error


def test_native_calls_are_made_together_and_answered_each_by_its_id():
    calls = (("calculator", '{"expression": "1"}'), ("read_file", '{"path": "a"}'))
    reply = Reply("Two at once.", "I think.", calls, Finish("tool_calls", Usage(1, 1)))
    bench = Bench(WrittenModel(reply, Reply("Both.", "", (), Finish("stop", Usage(1, 1)))), style="tools")
    assert bench.run().output == "Both."
    assert [(call.id, call.tool) for call in bench.calls] == [("call_1", "calculator"), ("call_2", "read_file")]
    told = bench.model.asked[1][0]
    assert [message.get("tool_call_id") for message in told[-2:]] == ["call_1", "call_2"]
    assert [call["id"] for call in told[-3]["tool_calls"]] == ["call_1", "call_2"]
    assert bench.types == ["thought", "action", "action", "observation", "observation", "answer"]


def test_a_native_call_that_is_cut_is_never_made():
    cut = Reply("", "", (("calculator", '{"expression": "1'),), Finish("length", Usage(1, 100)))
    bench = Bench(WrittenModel(cut, Reply("Fine.", "", (), Finish("stop", Usage(1, 1)))), style="tools")
    assert bench.run().output == "Fine." and bench.calls == [] and bench.types == ["error", "answer"]


def test_a_model_that_says_nothing_at_all_fails_clearly():
    nothing = Reply("", "", (), Finish("stop", Usage(1, 0)))
    outcome = Bench(WrittenModel(nothing), style="tools", budget=BUDGET).run()
    assert outcome.output == "" and outcome.error and outcome.status == "failed"


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"a": {"$ref": "#/$defs/none"}}},
        {"type": "object", "properties": {"a": {"type": "string", "pattern": "(?=x)"}}},
        {"type": "object", "properties": {"a": {"enum": ["x" * MAX_SCHEMA_BYTES]}}},
        {"type": "object", "properties": [1]},
        {"type": "string"},
        [],
        None,
    ],
)
def test_a_schema_that_no_model_can_be_held_to_is_told_with_a_reason(schema):
    assert why_unusable(schema)


@pytest.mark.parametrize(
    "schema", [{}, {"type": "object"}, {"type": "object", "properties": {}}, {"properties": {"a": {}}}]
)
def test_a_schema_that_says_little_is_usable(schema):
    assert why_unusable(schema) == ""
