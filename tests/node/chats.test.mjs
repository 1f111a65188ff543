// Chats and texts: whole, streamed, several at once, with probabilities, given up.
import assert from "node:assert/strict";
import { test } from "node:test";
import OpenAI from "openai";
import { CHAT, client, page, said, until } from "./client.mjs";

test("a chat answers with text, reason and usage", async () => {
  const answer = await client.chat.completions.create(said("Hello!", { max_tokens: 60 }));
  assert.equal(answer.object, "chat.completion");
  assert.equal(answer.model, CHAT);
  assert.equal(answer.choices[0].message.role, "assistant");
  assert.ok(answer.choices[0].message.content.trim());
  assert.equal(answer.choices[0].finish_reason, "stop");
  const { prompt_tokens, completion_tokens, total_tokens } = answer.usage;
  assert.equal(total_tokens, prompt_tokens + completion_tokens);
  assert.match(answer._request_id, /\S/);
});

test("a stream is read piece by piece and ends with its usage", async () => {
  const fields = { stream: true, stream_options: { include_usage: true } };
  const chunks = await Array.fromAsync(await client.chat.completions.create(said("Count to ten.", fields)));
  const last = chunks.pop();
  assert.deepEqual(last.choices, []);
  assert.equal(last.usage.completion_tokens, 12);
  assert.ok(chunks.map((chunk) => chunk.choices[0].delta.content ?? "").join("").trim());
  assert.deepEqual([...new Set(chunks.map((chunk) => chunk.id))], [last.id]);
  assert.ok(chunks.length > 4);
  assert.deepEqual(chunks.map((chunk) => chunk.choices[0].finish_reason).filter(Boolean), ["length"]);
});

test("the stream helper tells of each piece and knows the whole at the end", async () => {
  const events = { content: [], chunk: 0, finalContent: [], end: 0 };
  const stream = client.chat.completions
    .stream(said("Count to ten.", { stream_options: { include_usage: true } }))
    .on("content", (delta, snapshot) => events.content.push([delta, snapshot]))
    .on("chunk", () => events.chunk++)
    .on("finalContent", (content) => events.finalContent.push(content))
    .on("end", () => events.end++);
  const answer = await stream.finalChatCompletion();
  const text = answer.choices[0].message.content;
  assert.equal(events.content.map(([delta]) => delta).join(""), text);
  assert.equal(events.content.at(-1)[1], text);
  assert.deepEqual(events.finalContent, [text]);
  assert.ok(events.chunk > events.content.length);
  assert.equal(answer.choices[0].finish_reason, "length");
  assert.equal((await stream.totalUsage()).completion_tokens, 12);
  await stream.done();
  assert.equal(events.end, 1);
});

test("two choices are two texts, whole and streamed", async () => {
  const fields = { n: 2, temperature: 1, seed: 1, max_tokens: 16 };
  const whole = await client.chat.completions.create(said("Tell me something.", fields));
  const streamed = await client.chat.completions.stream(said("Tell me something.", fields)).finalChatCompletion();
  for (const answer of [whole, streamed]) {
    assert.deepEqual(answer.choices.map((choice) => choice.index).sort(), [0, 1]);
    assert.notEqual(answer.choices[0].message.content, answer.choices[1].message.content);
  }
});

test("log probabilities spell the text, whole and streamed", async () => {
  const fields = { logprobs: true, top_logprobs: 3 };
  const whole = await client.chat.completions.create(said("Hello!", fields));
  const streamed = await client.chat.completions.stream(said("Hello!", fields)).finalChatCompletion();
  for (const { choices } of [whole, streamed]) {
    const entries = choices[0].logprobs.content;
    assert.equal(entries.map((entry) => entry.token).join(""), choices[0].message.content);
    assert.ok(entries.every((entry) => entry.top_logprobs.length === 3 && entry.logprob <= 0));
    assert.ok(entries.every((entry) => entry.token === entry.top_logprobs[0].token)); // it is greedy
  }
});

test("the helper gives log probabilities as they come", async () => {
  const tokens = [];
  const stream = client.chat.completions.stream(said("Hello!", { logprobs: true }));
  stream.on("logprobs.content.delta", ({ content }) => tokens.push(...content.map((entry) => entry.token)));
  const text = await stream.finalContent();
  assert.equal(tokens.join(""), text);
});

test("an older text completion, whole and streamed", async () => {
  const body = { model: CHAT, prompt: "1, 2, 3, 4, 5, 6,", max_tokens: 8, temperature: 0, logprobs: 2 };
  const whole = await client.completions.create(body);
  assert.ok(whole.choices[0].text.startsWith(" 7, 8"));
  assert.equal(whole.choices[0].logprobs.tokens.join(""), whole.choices[0].text);
  const chunks = await Array.fromAsync(await client.completions.create({ ...body, stream: true }));
  assert.equal(chunks.map((chunk) => chunk.choices[0].text).join(""), whole.choices[0].text);
});

// The server's figures may be a second old: what has ended must have been seen running.
const slots = async () => (await page("/slots")).filter((slot) => slot.is_processing).length;
const isIdle = async () => (await slots()) === 0;
const isBusy = async () => (await slots()) > 0;
const endless = (fields) => said("Hello!", { max_tokens: 4_000, ignore_eos: true, ...fields });

test("leaving a stream in its middle ends the work at the server", async () => {
  for await (const _ of await client.chat.completions.create(endless({ stream: true }))) {
    if (await isBusy()) break; // ends the iteration, and with it the connection
  }
  await until(isIdle);
});

test("aborting the stream helper is an abort error and ends the work at the server", async () => {
  const stream = client.chat.completions.stream(endless());
  const rejected = assert.rejects(stream.done(), OpenAI.APIUserAbortError);
  await until(isBusy);
  stream.abort();
  await rejected;
  assert.ok(stream.aborted);
  await until(isIdle);
});

test("aborting an answer that is not streamed ends the work at the server", async () => {
  const giveUp = new AbortController();
  const answer = client.chat.completions.create(endless(), { signal: giveUp.signal });
  const rejected = assert.rejects(answer, OpenAI.APIUserAbortError);
  await until(isBusy);
  giveUp.abort();
  await rejected;
  await until(isIdle);
});

test("eight streams at once each come to their own end", async () => {
  const ask = (i) => client.chat.completions.stream(said(`Tell me about ${i}.`, { ignore_eos: true }));
  const answers = await Promise.all(Array.from({ length: 8 }, (_, i) => ask(i).finalChatCompletion()));
  assert.ok(answers.every((answer) => answer.choices[0].finish_reason === "length"));
  assert.equal(new Set(answers.map((answer) => answer.id)).size, 8);
});
