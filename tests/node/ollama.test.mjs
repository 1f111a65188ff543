// The ollama package: every line of its streams is an object, and its errors are Ollama's.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Ollama } from "ollama";
import { CHAT, EMBEDDING } from "./client.mjs";

const client = new Ollama({ host: process.env.OLLAMA_HOST });
const messages = [{ role: "user", content: "Say hello." }];
const options = { temperature: 0, num_predict: 12 };

test("models are listed, shown, and those in memory told", async () => {
  const { models } = await client.list();
  assert.ok(models.some((model) => model.name === `${CHAT}:latest` && model.details.format === "gguf"));
  const shown = await client.show({ model: CHAT });
  assert.equal(shown.model_info["general.architecture"], "llama");
  await client.generate({ model: CHAT, prompt: "" });
  const loaded = (await client.ps()).models.find((model) => model.name === `${CHAT}:latest`);
  assert.ok(new Date(loaded.expires_at) > new Date() && loaded.size > 0);
});

test("a chat whole and as a stream say the same", async () => {
  const whole = await client.chat({ model: CHAT, messages, options });
  let text = "", last;
  for await (last of await client.chat({ model: CHAT, messages, options, stream: true })) text += last.message.content;
  assert.equal(text, whole.message.content);
  assert.ok(last.done && last.eval_count > 0 && last.total_duration > 0);
});

test("a text is generated, and a form is kept", async () => {
  const format = { type: "object", properties: { ok: { type: "boolean" } }, required: ["ok"], additionalProperties: false };
  const { response } = await client.generate({ model: CHAT, prompt: "Is it so?", format, options: { temperature: 0 } });
  assert.equal(typeof JSON.parse(response).ok, "boolean");
  let text = "";
  for await (const part of await client.generate({ model: CHAT, prompt: "1, 2, 3, 4,", raw: true, stream: true, options }))
    text += part.response;
  assert.ok(text.startsWith(" 5, 6"));
});

test("a stream can be left, and the next request is answered", async () => {
  const stream = await client.chat({ model: CHAT, messages, stream: true, options: { num_predict: 1000 } });
  await assert.rejects(async () => {
    for await (const part of stream) if (part.message.content) stream.abort();
  }, { name: "AbortError" });
  assert.ok((await client.chat({ model: CHAT, messages, options })).message.content);
});

test("texts are embedded", async () => {
  const { embeddings } = await client.embed({ model: EMBEDDING, input: ["Hello", "Good morning"] });
  assert.deepEqual(embeddings.map((vector) => vector.length), [384, 384]);
});

test("a model is made, copied and deleted, and its progress told", async () => {
  const told = [];
  for await (const { status } of await client.create({ model: "js-made", from: CHAT, system: "Be brief.", stream: true }))
    told.push(status);
  assert.equal(told.at(-1), "success");
  assert.equal((await client.copy({ source: "js-made", destination: "js-copy" })).status, "success");
  assert.equal((await client.show({ model: "js-copy" })).system, "Be brief.");
  for (const model of ["js-made", "js-copy"]) assert.equal((await client.delete({ model })).status, "success");
});

for (const [what, call, status, message] of [
  ["an unknown model", () => client.chat({ model: "nobody", messages }), 404, /model 'nobody' not found/],
  ["a model of a registry", () => client.pull({ model: "llama3.2" }), 404, /nothing is fetched from the internet/],
  ["a thought of one that cannot think", () => client.chat({ model: CHAT, messages, think: true }), 400, /does not support thinking/],
]) {
  test(`${what} is an error with its status`, async () => {
    await assert.rejects(call, (error) => error.status_code === status && message.test(error.message));
  });
}
