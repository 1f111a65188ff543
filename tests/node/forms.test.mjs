// Answers of a form, asked for and checked with zod.
import assert from "node:assert/strict";
import { test } from "node:test";
import OpenAI from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";
import { client, said } from "./client.mjs";

const Pet = z.object({ kind: z.enum(["cat", "dog"]), age: z.int().min(0).max(30).nullable() });
const Person = z.object({
  name: z.string().min(1).max(20),
  height_m: z.number().gt(0.5).lt(2.5),
  pets: z.array(Pet).max(2),
});
const ASK = "Make up a person and describe them as JSON.";
const form = zodResponseFormat(Person, "person");
const asked = (seed) => said(ASK, { response_format: form, temperature: 1.2, seed, max_tokens: 900 });

test("parse gives what the zod schema describes", async () => {
  for (const seed of [1, 2]) {
    const answer = await client.chat.completions.parse(asked(seed));
    assert.equal(answer.choices[0].finish_reason, "stop");
    const { parsed, content } = answer.choices[0].message;
    assert.deepEqual(Person.parse(parsed), JSON.parse(content));
  }
});

test("the stream helper gives it as it grows and parsed at the end", async () => {
  const growing = [];
  const stream = client.chat.completions.stream(asked(3));
  stream.on("content.delta", ({ parsed }) => growing.push(parsed));
  const done = new Promise((resolve) => stream.on("content.done", resolve));
  const answer = await stream.finalChatCompletion();
  const { parsed } = answer.choices[0].message;
  assert.deepEqual(Person.parse(parsed), parsed);
  assert.deepEqual((await done).parsed, parsed);
  assert.ok(growing.some((partial) => partial?.name && !("pets" in partial)));
});

test("a recursive schema, by reference", async () => {
  const Folder = z.object({
    name: z.string().max(8),
    get inside() {
      return z.array(Folder).max(1);
    },
  });
  // A text that it can copy: left to itself, a small model may go on nesting for ever.
  const example = '{"name": "a", "inside": [{"name": "b", "inside": []}]}';
  const fields = { response_format: zodResponseFormat(Folder, "folder"), max_tokens: 100 };
  const answer = await client.chat.completions.parse(said(`Repeat exactly: ${example}`, fields));
  const { parsed } = answer.choices[0].message;
  assert.ok(Folder.safeParse(parsed).success);
  assert.ok(parsed.inside.length > 0);
});

test("a union that a member tells apart", async () => {
  const Shape = z.object({
    shape: z.discriminatedUnion("is", [
      z.object({ is: z.literal("circle"), radius: z.number().positive() }),
      z.object({ is: z.literal("square"), side: z.number().positive() }),
    ]),
  });
  const fields = { response_format: zodResponseFormat(Shape, "shape"), max_tokens: 200, temperature: 1, seed: 5 };
  const answer = await client.chat.completions.parse(said("Describe a shape as JSON.", fields));
  assert.ok(["circle", "square"].includes(answer.choices[0].message.parsed.shape.is));
});

test("an answer that was cut is a length error, never half an object", async () => {
  const body = { ...asked(1), max_tokens: 5 };
  await assert.rejects(client.chat.completions.parse(body), OpenAI.LengthFinishReasonError);
});
