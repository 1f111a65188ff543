// Embeddings, models and errors.
import assert from "node:assert/strict";
import { test } from "node:test";
import OpenAI from "openai";
import { CHAT, EMBEDDING, client, said } from "./client.mjs";

test("the default base64 is the same vectors as floats, in order", async () => {
  const input = ["Hello world", "The ferry leaves at nine."];
  const byDefault = await client.embeddings.create({ model: EMBEDDING, input });
  const asFloats = await client.embeddings.create({ model: EMBEDDING, input, encoding_format: "float" });
  assert.deepEqual(byDefault.data.map((row) => row.index), [0, 1]);
  for (const [i, { embedding }] of byDefault.data.entries()) {
    assert.equal(embedding.length, 384);
    assert.ok(Math.abs(Math.hypot(...embedding) - 1) < 1e-4);
    assert.ok(embedding.every((x, j) => Math.abs(x - asFloats.data[i].embedding[j]) < 1e-6));
  }
  assert.ok(byDefault.usage.prompt_tokens > 0);
});

test("base64 that is asked for comes as text", async () => {
  const answer = await client.embeddings.create({ model: EMBEDDING, input: "Hello", encoding_format: "base64" });
  assert.equal(Buffer.from(answer.data[0].embedding, "base64").length, 4 * 384);
});

test("models are listed page by page and retrieved", async () => {
  const ids = await Array.fromAsync(client.models.list(), (model) => model.id);
  assert.ok(ids.includes(CHAT) && ids.includes(EMBEDDING));
  assert.equal((await client.models.retrieve(CHAT)).id, CHAT);
});

for (const [what, call, kind, about] of [
  ["a field out of range", () => client.chat.completions.create(said("x", { temperature: 3 })),
    OpenAI.BadRequestError, { status: 400, param: "temperature", type: "invalid_request_error" }],
  ["the same in a stream", () => client.chat.completions.create(said("x", { temperature: 3, stream: true })),
    OpenAI.BadRequestError, { status: 400, param: "temperature", type: "invalid_request_error" }],
  ["a prompt that does not fit", () => client.chat.completions.create(said("word ".repeat(9000))),
    OpenAI.BadRequestError, { status: 400, param: "messages", code: "context_length_exceeded" }],
  ["an unknown model", () => client.chat.completions.create(said("x", { model: "none" })),
    OpenAI.NotFoundError, { status: 404, code: "model_not_found" }],
  ["a text nobody can embed", () => client.embeddings.create({ model: EMBEDDING, input: "" }),
    OpenAI.BadRequestError, { status: 400, param: "input" }],
]) {
  test(`${what} is an error of its kind`, async () => {
    await assert.rejects(call(), (error) => {
      assert.ok(error instanceof kind, String(error));
      for (const [name, value] of Object.entries(about)) assert.equal(error[name], value, name);
      assert.match(error.requestID, /\S/);
      return true;
    });
  });
}

test("the stream helper gives the error to those who listen", async () => {
  const stream = client.chat.completions.stream(said("x", { top_p: 2 }));
  const heard = new Promise((resolve) => stream.on("error", resolve));
  await assert.rejects(stream.finalChatCompletion(), OpenAI.BadRequestError);
  assert.equal((await heard).param, "top_p");
});

test("a server that nobody listens at is a connection error", async () => {
  const nowhere = new OpenAI({ baseURL: "http://127.0.0.1:9/v1", maxRetries: 0 });
  await assert.rejects(nowhere.models.list(), OpenAI.APIConnectionError);
});
