// The Responses API: whole, streamed, parsed, chained, with tools.
import assert from "node:assert/strict";
import { test } from "node:test";
import OpenAI from "openai";
import { zodResponsesFunction, zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";
import { CHAT, client } from "./client.mjs";

const Pet = z.object({ kind: z.enum(["cat", "dog"]), age: z.int().min(0).max(30) });
const Weather = z.object({ city: z.string().min(1).max(20) });
const asked = (input, fields = {}) => ({ model: CHAT, input, temperature: 0, max_output_tokens: 60, ...fields });

test("an answer is kept, gone on from, listed and deleted", async () => {
  const first = await client.responses.create(asked("My name is Ada."));
  assert.equal(first.status, "completed");
  assert.ok(first.output_text.trim());
  const fields = { previous_response_id: first.id, max_output_tokens: 8 };
  const second = await client.responses.create(asked("What is my name?", fields));
  assert.ok(second.usage.input_tokens > first.usage.input_tokens);
  assert.equal((await client.responses.retrieve(second.id)).output_text, second.output_text);
  const roles = [];
  for await (const item of client.responses.inputItems.list(second.id, { limit: 2, order: "asc" })) roles.push(item.role);
  assert.deepEqual(roles, ["user", "assistant", "user"]);
  await client.responses.delete(second.id);
  await assert.rejects(client.responses.retrieve(second.id), OpenAI.NotFoundError);
});

test("the stream helper spells the answer", async () => {
  const stream = client.responses.stream(asked("Hello!"));
  let text = "";
  const numbers = [];
  stream.on("response.output_text.delta", (event) => (text += event.delta));
  stream.on("event", (event) => numbers.push(event.sequence_number));
  const answer = await stream.finalResponse();
  assert.equal(answer.output_text, text);
  assert.ok(text.trim());
  assert.deepEqual(numbers, [...numbers.keys()]);
});

test("a plain stream ends with the whole answer", async () => {
  const events = await Array.fromAsync(await client.responses.create(asked("Hello!", { stream: true })));
  assert.equal(events[0].type, "response.created");
  assert.equal(events.at(-1).type, "response.completed");
  assert.ok(events.at(-1).response.output[0].content[0].text);
});

test("parse gives what the zod schema describes", async () => {
  const text = { format: zodTextFormat(Pet, "pet") };
  const answer = await client.responses.parse(asked("Describe a pet as JSON.", { text, temperature: 1, seed: 1 }));
  assert.deepEqual(Pet.parse(answer.output_parsed), JSON.parse(answer.output_text));
});

test("the loop of a tool", async () => {
  const tools = [zodResponsesFunction({ name: "get_weather", parameters: Weather, description: "Get the weather." })];
  const fields = { tools, tool_choice: "required", parallel_tool_calls: false, max_output_tokens: 200 };
  const answer = await client.responses.parse(asked("Weather in Paris?", fields));
  const [call, ...more] = answer.output;
  assert.deepEqual(more, []);
  assert.deepEqual(Weather.parse(call.parsed_arguments), JSON.parse(call.arguments));
  const result = { type: "function_call_output", call_id: call.call_id, output: "Sunny" };
  const chained = { previous_response_id: answer.id, max_output_tokens: 20 };
  assert.ok((await client.responses.create(asked([result], chained))).output.length);
});

test("a refusal names the field", async () => {
  await assert.rejects(client.responses.create(asked("Hello!", { truncation: "auto" })), (error) => {
    assert.ok(error instanceof OpenAI.BadRequestError);
    assert.equal(error.param, "truncation");
    return true;
  });
});
