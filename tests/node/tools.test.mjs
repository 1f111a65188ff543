// Tools: calls whole and streamed, the helpers that put them together, and the loop that runs them.
import assert from "node:assert/strict";
import { test } from "node:test";
import { zodFunction } from "openai/helpers/zod";
import { z } from "zod";
import { client, said } from "./client.mjs";

const QUESTION = "How warm is it in Accra and in Oslo?";
const Weather = z.object({
  places: z.array(z.object({ city: z.string().min(1).max(20), country: z.string().max(20).nullable() })).min(1).max(2),
  unit: z.enum(["celsius", "fahrenheit"]),
});
const Bell = z.object({ times: z.int().min(1).max(3) });

/** Both tools, and a list of what they were given by those who ran them. */
function tools() {
  const given = [];
  const run = (name) => (parsed) => {
    given.push([name, parsed]);
    return JSON.stringify({ done: name });
  };
  const list = [
    zodFunction({ name: "get_weather", parameters: Weather, description: "Get the weather.", function: run("get_weather") }),
    zodFunction({ name: "ring_bell", parameters: Bell, description: "Ring the bell.", function: run("ring_bell") }),
  ];
  return { list, given };
}

const asked = (fields) => said(QUESTION, { tools: tools().list, max_tokens: 600, ...fields });
const named = (name) => ({ type: "function", function: { name } });
const schemas = { get_weather: Weather, ring_bell: Bell };

test("a required call is of one of the tools", async () => {
  const answer = await client.chat.completions.create(asked({ tool_choice: "required", parallel_tool_calls: false }));
  assert.equal(answer.choices[0].finish_reason, "tool_calls");
  const [call, ...more] = answer.choices[0].message.tool_calls;
  assert.deepEqual(more, []);
  schemas[call.function.name].parse(JSON.parse(call.function.arguments));
});

test("a named tool is the one that is called, parsed by its zod schema", async () => {
  for (const name of Object.keys(schemas)) {
    const answer = await client.chat.completions.parse(asked({ tool_choice: named(name), temperature: 1, seed: 1 }));
    for (const call of answer.choices[0].message.tool_calls) {
      assert.equal(call.function.name, name);
      assert.deepEqual(schemas[name].parse(call.function.parsed_arguments), JSON.parse(call.function.arguments));
    }
  }
});

test("with the choice none there is a text", async () => {
  const answer = await client.chat.completions.create(asked({ tool_choice: "none", max_tokens: 200 }));
  assert.equal(answer.choices[0].finish_reason, "stop");
  assert.ok(!answer.choices[0].message.tool_calls);
  assert.ok(answer.choices[0].message.content.trim());
});

test("the stream helper puts a call together from its pieces", async () => {
  const fields = { tool_choice: named("get_weather"), parallel_tool_calls: false };
  const pieces = [];
  const done = [];
  const stream = client.chat.completions.stream(asked(fields));
  stream.on("tool_calls.function.arguments.delta", ({ arguments_delta }) => pieces.push(arguments_delta));
  stream.on("tool_calls.function.arguments.done", (event) => done.push(event));
  const answer = await stream.finalChatCompletion();
  const [call] = answer.choices[0].message.tool_calls;
  assert.ok(pieces.length > 3);
  assert.equal(pieces.join(""), call.function.arguments);
  assert.deepEqual(done.map((event) => [event.name, event.arguments]), [["get_weather", call.function.arguments]]);
  assert.deepEqual(Weather.parse(call.function.parsed_arguments), JSON.parse(call.function.arguments));
});

test("from the question by way of a call to the answer, in both modes", async () => {
  for (const mode of ["whole", "streamed"]) {
    const ask = (body) =>
      mode === "whole"
        ? client.chat.completions.create(body)
        : client.chat.completions.stream(body).finalChatCompletion();
    const body = asked({ tool_choice: "required", parallel_tool_calls: false });
    const { message } = (await ask(body)).choices[0];
    const results = message.tool_calls.map(({ id }) => ({ role: "tool", tool_call_id: id, content: "31 degrees" }));
    const calls = message.tool_calls.map(({ id, type, function: { name, arguments: text } }) => ({
      id, type, function: { name, arguments: text },
    }));
    const history = [...body.messages, { role: "assistant", content: null, tool_calls: calls }, ...results];
    const last = (await ask({ ...body, messages: history, tool_choice: "none" })).choices[0];
    assert.equal(last.finish_reason, "stop");
    assert.ok(last.message.content.trim());
  }
});

for (const stream of [false, true]) {
  const mode = stream ? "streamed" : "whole";

  test(`runTools runs the named tool once, ${mode}`, async () => {
    const { list, given } = tools();
    const body = said(QUESTION, { tools: list, tool_choice: named("ring_bell"), max_tokens: 200, stream });
    const runner = client.chat.completions.runTools(body);
    const heard = [];
    runner.on("functionToolCallResult", (result) => heard.push(result));
    assert.equal(await runner.finalFunctionToolCallResult(), '{"done":"ring_bell"}');
    await runner.done();
    assert.equal(given.length, 1);
    Bell.parse(given[0][1]);
    assert.deepEqual(heard, ['{"done":"ring_bell"}']);
  });

  test(`runTools goes on until there is an answer, ${mode}`, async () => {
    const { list, given } = tools();
    const call = '<tool_call>\n{"name": "ring_bell", "arguments": {"times": 1}}\n</tool_call>'; // what it can copy
    const body = said(`Repeat exactly: ${call}`, { tools: list, max_tokens: 300, stream });
    const runner = client.chat.completions.runTools(body);
    const text = await runner.finalContent();
    assert.ok(text.trim());
    assert.deepEqual(given[0], ["ring_bell", { times: 1 }]);
    assert.equal(runner.messages.at(-1).content, text);
  });

  test(`runTools sends the results back and asks again, ${mode}`, async () => {
    const { list, given } = tools();
    const more = { tool_choice: "required", parallel_tool_calls: false, max_tokens: 600, stream };
    const runner = client.chat.completions.runTools(said(QUESTION, { tools: list, ...more }), { maxChatCompletions: 3 });
    await runner.done();
    assert.deepEqual(runner.messages.map(({ role }) => role), ["user", ...Array(3).fill(["assistant", "tool"]).flat()]);
    assert.equal(given.length, 3);
    for (const [name, parsed] of given) schemas[name].parse(parsed);
    const sums = await runner.totalUsage();
    assert.ok(stream || sums.completion_tokens > 0);
  });
}
